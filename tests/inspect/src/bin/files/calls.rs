//! The steps of the table's language: a system call each, by the name of its manual page.
//!
//! Responsible for turning words into arguments and results into words. Must not know what is expected.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{self, SigHandler, Signal};
use nix::unistd::{Gid as NixGid, Uid as NixUid, setgroups, setresgid, setresuid};
use rustix::fs::{
    self as rfs, Access, AtFlags, CWD, Dir, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags,
    SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::process::umask;

use crate::acl;
use crate::script::State;

/// No such step, or its words make no sense. No system call of the table answers so.
const MALFORMED: Errno = Errno::NOTRECOVERABLE;

/// The clock that stamps files ticks every few milliseconds.
const TICK: Duration = Duration::from_millis(20);

type Outcome = Result<String, Errno>;

/// Changes the effective user and groups; root keeps the way back.
pub(crate) fn assume(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    let failed = |error: nix::Error| Errno::from_raw_os_error(error as i32);
    let keep = u32::MAX;
    setresuid(NixUid::from_raw(keep), NixUid::from_raw(0), NixUid::from_raw(keep)).map_err(failed)?;
    let groups: Vec<NixGid> = groups.iter().copied().map(NixGid::from_raw).collect();
    setgroups(&groups).map_err(failed)?;
    setresgid(NixGid::from_raw(keep), NixGid::from_raw(gid), NixGid::from_raw(keep)).map_err(failed)?;
    setresuid(NixUid::from_raw(keep), NixUid::from_raw(uid), NixUid::from_raw(keep)).map_err(failed)
}

/// `ENOENT` and the like.
pub(crate) fn name_of(errno: Errno) -> String {
    errno_name(errno.raw_os_error())
}

/// The same for a number.
pub(crate) fn errno_name(number: i32) -> String {
    format!("{:?}", nix::Error::from_raw(number))
}

fn text<'a>(words: &[&'a str], index: usize) -> Result<&'a str, Errno> {
    words.get(index).copied().ok_or(MALFORMED)
}

fn number<T: TryFrom<i128>>(words: &[&str], index: usize) -> Result<T, Errno> {
    let value: i128 = text(words, index)?.parse().map_err(|_| MALFORMED)?;
    T::try_from(value).map_err(|_| MALFORMED)
}

fn octal(words: &[&str], index: usize) -> Result<Mode, Errno> {
    let bits = u32::from_str_radix(text(words, index)?, 8).map_err(|_| MALFORMED)?;
    Ok(Mode::from_bits_retain(bits))
}

fn id(words: &[&str], index: usize) -> Result<Option<u32>, Errno> {
    let value: i64 = number(words, index)?;
    Ok(u32::try_from(value).ok())
}

/// Flags as the manual pages write them, joined by `|`; `0` and `-` stand for none.
fn flags(words: &[&str], index: usize, known: &[(&str, u32)]) -> Result<u32, Errno> {
    let Some(word) = words.get(index) else { return Ok(0) };
    let mut sum = 0;
    for name in word.split('|').filter(|name| *name != "0" && *name != "-") {
        sum |= known.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits).ok_or(MALFORMED)?;
    }
    Ok(sum)
}

const OPEN: [(&str, u32); 17] = [
    ("RDONLY", OFlags::RDONLY.bits()),
    ("WRONLY", OFlags::WRONLY.bits()),
    ("RDWR", OFlags::RDWR.bits()),
    ("CREAT", OFlags::CREATE.bits()),
    ("EXCL", OFlags::EXCL.bits()),
    ("TRUNC", OFlags::TRUNC.bits()),
    ("APPEND", OFlags::APPEND.bits()),
    ("DIRECTORY", OFlags::DIRECTORY.bits()),
    ("NOFOLLOW", OFlags::NOFOLLOW.bits()),
    ("NONBLOCK", OFlags::NONBLOCK.bits()),
    ("PATH", OFlags::PATH.bits()),
    ("TMPFILE", OFlags::TMPFILE.bits()),
    ("NOATIME", OFlags::NOATIME.bits()),
    ("DIRECT", OFlags::DIRECT.bits()),
    ("SYNC", OFlags::SYNC.bits()),
    ("DSYNC", OFlags::DSYNC.bits()),
    ("CLOEXEC", OFlags::CLOEXEC.bits()),
];

const AT: [(&str, u32); 5] = [
    ("NOFOLLOW", AtFlags::SYMLINK_NOFOLLOW.bits()),
    ("FOLLOW", AtFlags::SYMLINK_FOLLOW.bits()),
    ("REMOVEDIR", AtFlags::REMOVEDIR.bits()),
    ("EMPTY_PATH", AtFlags::EMPTY_PATH.bits()),
    // No flag of any call.
    ("BAD", 0x4000_0000),
];

const RENAME: [(&str, u32); 4] = [
    ("NOREPLACE", RenameFlags::NOREPLACE.bits()),
    ("EXCHANGE", RenameFlags::EXCHANGE.bits()),
    ("WHITEOUT", RenameFlags::WHITEOUT.bits()),
    ("BAD", 0x4000_0000),
];

const FALLOCATE: [(&str, u32); 5] = [
    ("KEEP_SIZE", FallocateFlags::KEEP_SIZE.bits()),
    ("PUNCH_HOLE", FallocateFlags::PUNCH_HOLE.bits()),
    ("ZERO_RANGE", FallocateFlags::ZERO_RANGE.bits()),
    ("COLLAPSE_RANGE", FallocateFlags::COLLAPSE_RANGE.bits()),
    ("BAD", 0x4000_0000),
];

const XATTR: [(&str, u32); 2] = [("CREATE", 1), ("REPLACE", 2)];

/// Carries out one step.
#[allow(clippy::too_many_lines)]
pub(crate) fn call(words: &[&str], state: &mut State<'_>) -> Outcome {
    let Some((&name, words)) = words.split_first() else { return Err(MALFORMED) };
    let path = |index| text(words, index);
    let at = |index| flags(words, index, &AT).map(AtFlags::from_bits_retain);
    let done = |result: Result<(), Errno>| result.map(|()| "ok".to_owned());
    match name {
        "as" => {
            let groups = words.get(2..).unwrap_or_default().iter();
            let groups: Result<Vec<u32>, _> =
                groups.map(|word| word.parse().map_err(|_| MALFORMED)).collect();
            done(assume(number(words, 0)?, number(words, 1)?, &groups?))
        }
        "umask" => {
            umask(octal(words, 0)?);
            Ok("ok".to_owned())
        }
        "tick" => {
            thread::sleep(TICK);
            Ok("ok".to_owned())
        }
        "limit-size" => {
            let limit = number(words, 0)?;
            // SAFETY: ignoring a signal runs no code.
            let ignored = unsafe { signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
            let set = ignored.and_then(|_| setrlimit(Resource::RLIMIT_FSIZE, limit, u64::MAX));
            done(set.map_err(|error| Errno::from_raw_os_error(error as i32)))
        }
        "chdir" => done(rustix::process::chdir(path(0)?)),
        "mkdir" => done(rfs::mkdir(path(0)?, octal(words, 1)?)),
        "mkdirs" => done(fs::create_dir_all(path(0)?).map_err(|_| MALFORMED)),
        "mkdirat" => done(rfs::mkdirat(file(state, words, 0)?, path(1)?, octal(words, 2)?)),
        "create" => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            let made = rfs::open(path(0)?, flags, octal(words, 1).unwrap_or(Mode::from_raw_mode(0o644)));
            done(made.map(drop))
        }
        "open" | "openat" => {
            let skip = usize::from(name == "openat");
            let flags = OFlags::from_bits_retain(flags(words, 2 + skip, &OPEN)?);
            let mode = octal(words, 3 + skip).unwrap_or(Mode::from_raw_mode(0o644));
            let opened = match skip {
                0 => rfs::open(path(1)?, flags, mode)?,
                _ => rfs::openat(file(state, words, 1)?, path(2)?, flags, mode)?,
            };
            state.files.insert(text(words, 0)?.to_owned(), opened);
            Ok("ok".to_owned())
        }
        "close" => state.files.remove(path(0)?).map(|_| "ok".to_owned()).ok_or(MALFORMED),
        "symlink" => done(rfs::symlink(path(0)?, path(1)?)),
        "symlinkat" => done(rfs::symlinkat(path(0)?, file(state, words, 1)?, path(2)?)),
        "readlink" => Ok(rfs::readlink(path(0)?, Vec::new())?.to_string_lossy().into_owned()),
        "link" => done(rfs::link(path(0)?, path(1)?)),
        "linkat" => done(rfs::linkat(CWD, path(0)?, CWD, path(1)?, at(2)?)),
        "flink" => {
            // open(2) has this way to give an unnamed file a name without CAP_DAC_READ_SEARCH.
            let own = format!("/proc/self/fd/{}", raw(file(state, words, 0)?));
            done(rfs::linkat(CWD, own.as_str(), CWD, path(1)?, AtFlags::SYMLINK_FOLLOW))
        }
        "rename" => done(rfs::rename(path(0)?, path(1)?)),
        "renameat2" => {
            let flags = RenameFlags::from_bits_retain(flags(words, 2, &RENAME)?);
            done(rfs::renameat_with(CWD, path(0)?, CWD, path(1)?, flags))
        }
        "unlink" => done(rfs::unlink(path(0)?)),
        "unlinkat" => done(rfs::unlinkat(CWD, path(0)?, at(1)?)),
        "rmdir" => done(rfs::rmdir(path(0)?)),
        "chmod" => done(rfs::chmod(path(0)?, octal(words, 1)?)),
        "fchmod" => done(rfs::fchmod(file(state, words, 0)?, octal(words, 1)?)),
        "chown" | "lchown" | "fchownat" => {
            let flags = match name {
                "lchown" => AtFlags::SYMLINK_NOFOLLOW,
                _ => at(3)?,
            };
            let (uid, gid) = owners(words, 1)?;
            done(rfs::chownat(CWD, path(0)?, uid, gid, flags))
        }
        "fchown" => {
            let (uid, gid) = owners(words, 1)?;
            done(rfs::fchown(file(state, words, 0)?, uid, gid))
        }
        "truncate" => {
            let length: i64 = number(words, 1)?;
            let path = std::ffi::CString::new(path(0)?).map_err(|_| MALFORMED)?;
            let result = nix::unistd::truncate(path.as_c_str(), length);
            done(result.map_err(|error| Errno::from_raw_os_error(error as i32)))
        }
        "ftruncate" => {
            let length: i64 = number(words, 1)?;
            let result = nix::unistd::ftruncate(file(state, words, 0)?, length);
            done(result.map_err(|error| Errno::from_raw_os_error(error as i32)))
        }
        "utimensat" => done(rfs::utimensat(CWD, path(0)?, &times(words, 1)?, at(3)?)),
        "futimens" => done(rfs::futimens(file(state, words, 0)?, &times(words, 1)?)),
        "mkfifo" => done(rfs::mknodat(CWD, path(0)?, FileType::Fifo, octal(words, 1)?, 0)),
        "mknod" => {
            let kind = match text(words, 1)? {
                "file" => FileType::RegularFile,
                "fifo" => FileType::Fifo,
                "socket" => FileType::Socket,
                "char" => FileType::CharacterDevice,
                "block" => FileType::BlockDevice,
                "directory" => FileType::Directory,
                _ => return Err(MALFORMED),
            };
            let device = rfs::makedev(number(words, 3).unwrap_or(0), number(words, 4).unwrap_or(0));
            done(rfs::mknodat(CWD, path(0)?, kind, octal(words, 2)?, device))
        }
        "access" => {
            let mode = Access::from_bits_retain(number(words, 1)?);
            done(rfs::accessat(CWD, path(0)?, mode, AtFlags::EACCESS))
        }
        "stat" => Ok(describe(&rfs::stat(path(0)?)?, words.get(1..))),
        "lstat" => Ok(describe(&rfs::lstat(path(0)?)?, words.get(1..))),
        "fstat" => Ok(describe(&rfs::fstat(file(state, words, 0)?)?, words.get(1..))),
        "same" => {
            let (one, other) = (rfs::lstat(path(0)?)?, rfs::lstat(path(1)?)?);
            Ok(if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) { "same" } else { "other" }
                .to_owned())
        }
        "note" => {
            let stat = rfs::lstat(path(0)?)?;
            state.noted.insert(path(0)?.to_owned(), stat);
            thread::sleep(TICK);
            Ok("ok".to_owned())
        }
        "moved" => {
            let before = state.noted.get(path(0)?).ok_or(MALFORMED)?;
            let after = rfs::lstat(words.get(1).copied().unwrap_or(path(0)?))?;
            Ok(moved(before, &after))
        }
        "readdir" => {
            let directory = rfs::open(path(0)?, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let mut names = Vec::new();
            for entry in Dir::read_from(directory)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names.join("+"))
        }
        "read" => {
            let mut buffer = vec![0; number(words, 1)?];
            let length = rustix::io::read(file(state, words, 0)?, &mut buffer)?;
            buffer.truncate(length);
            Ok(String::from_utf8_lossy(&buffer).replace('\0', "\\0"))
        }
        "write" => Ok(rustix::io::write(file(state, words, 0)?, path(1)?.as_bytes())?.to_string()),
        "pwrite" => {
            let written = rustix::io::pwrite(file(state, words, 0)?, path(1)?.as_bytes(), number(words, 2)?)?;
            Ok(written.to_string())
        }
        "fill" => fill(file(state, words, 0)?),
        "fill-names" => fill_names(path(0)?),
        "clear" => {
            for entry in fs::read_dir(path(0)?).map_err(|_| MALFORMED)?.flatten() {
                let _ = fs::remove_file(entry.path());
            }
            Ok("ok".to_owned())
        }
        "lseek" => {
            let offset: i64 = number(words, 1)?;
            let from = match text(words, 2)? {
                "SET" => SeekFrom::Start(offset.cast_unsigned()),
                "CUR" => SeekFrom::Current(offset),
                "END" => SeekFrom::End(offset),
                "DATA" => SeekFrom::Data(offset.cast_unsigned()),
                "HOLE" => SeekFrom::Hole(offset.cast_unsigned()),
                _ => return Err(MALFORMED),
            };
            Ok(rfs::seek(file(state, words, 0)?, from)?.to_string())
        }
        "fallocate" => {
            let flags = FallocateFlags::from_bits_retain(flags(words, 1, &FALLOCATE)?);
            done(rfs::fallocate(file(state, words, 0)?, flags, number(words, 2)?, number(words, 3)?))
        }
        "fsync" => done(rfs::fsync(file(state, words, 0)?)),
        "setxattr" | "lsetxattr" => {
            let flags = XattrFlags::from_bits_retain(flags(words, 3, &XATTR)?);
            let value = path(2)?.as_bytes();
            match name {
                "setxattr" => done(rfs::setxattr(path(0)?, path(1)?, value, flags)),
                _ => done(rfs::lsetxattr(path(0)?, path(1)?, value, flags)),
            }
        }
        "getxattr" => {
            let mut value = [0_u8; 256];
            let length = rfs::getxattr(path(0)?, path(1)?, &mut value)?;
            Ok(String::from_utf8_lossy(value.get(..length).unwrap_or_default()).into_owned())
        }
        "sizexattr" => {
            let mut value = vec![0_u8; number(words, 2)?];
            Ok(rfs::getxattr(path(0)?, path(1)?, &mut value[..])?.to_string())
        }
        "listxattr" => {
            let mut names = [0_u8; 4096];
            let length = rfs::listxattr(path(0)?, &mut names)?;
            let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
            let mut names: Vec<_> =
                names.map(String::from_utf8_lossy).filter(|name| !name.is_empty()).collect();
            names.sort();
            Ok(names.join("+"))
        }
        "removexattr" => done(rfs::removexattr(path(0)?, path(1)?)),
        "setacl" => {
            let value = acl::encode(path(2)?).ok_or(MALFORMED)?;
            done(rfs::setxattr(path(0)?, acl::attribute(path(1)?), &value, XattrFlags::empty()))
        }
        "getacl" => {
            let mut value = [0_u8; 512];
            let length = rfs::getxattr(path(0)?, acl::attribute(path(1)?), &mut value)?;
            Ok(acl::decode(value.get(..length).unwrap_or_default()))
        }
        "capable" => done(rfs::setxattr(path(0)?, "security.capability", &NET_RAW, XattrFlags::empty())),
        "caps" => {
            let mut value = [0_u8; 64];
            Ok(rfs::getxattr(path(0)?, "security.capability", &mut value)?.to_string())
        }
        "mmap" => crate::behaviours::map_file(file(state, words, 0)?),
        _ => Err(MALFORMED),
    }
}

/// VFS_CAP_REVISION_2 with CAP_NET_RAW permitted (linux/capability.h).
const NET_RAW: [u8; 20] = [0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn file<'a>(state: &'a State<'_>, words: &[&str], index: usize) -> Result<BorrowedFd<'a>, Errno> {
    state.files.get(text(words, index)?).map(AsFd::as_fd).ok_or(MALFORMED)
}

fn raw(file: BorrowedFd<'_>) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&file)
}

fn owners(words: &[&str], index: usize) -> Result<(Option<Uid>, Option<Gid>), Errno> {
    Ok((id(words, index)?.map(Uid::from_raw), id(words, index + 1)?.map(Gid::from_raw)))
}

/// Access and modification time: seconds, or `now`, `omit`, `bad`.
fn times(words: &[&str], index: usize) -> Result<Timestamps, Errno> {
    let time = |index| {
        let (tv_sec, tv_nsec) = match text(words, index)? {
            "now" => (0, rfs::UTIME_NOW),
            "omit" => (0, rfs::UTIME_OMIT),
            "bad" => (0, 1_000_000_000),
            _ => (number(words, index)?, 0),
        };
        Ok(Timespec { tv_sec, tv_nsec })
    };
    Ok(Timestamps { last_access: time(index)?, last_modification: time(index + 1)? })
}

/// Fields of an inode, joined by `/`.
fn describe(stat: &Stat, fields: Option<&[&str]>) -> String {
    let field = |name: &&str| match *name {
        "mode" => format!("{:04o}", stat.st_mode & 0o7777),
        "type" => format!("{:?}", FileType::from_raw_mode(stat.st_mode)),
        "uid" => stat.st_uid.to_string(),
        "gid" => stat.st_gid.to_string(),
        "nlink" => stat.st_nlink.to_string(),
        "size" => stat.st_size.to_string(),
        "sparse" => if stat.st_blocks * 512 < stat.st_size { "sparse" } else { "full" }.to_owned(),
        "rdev" => format!("{}:{}", rfs::major(stat.st_rdev), rfs::minor(stat.st_rdev)),
        "atime" => stat.st_atime.to_string(),
        "mtime" => stat.st_mtime.to_string(),
        _ => "?".to_owned(),
    };
    fields.unwrap_or_default().iter().map(field).collect::<Vec<_>>().join("/")
}

/// Which of the three times are later than they were.
fn moved(before: &Stat, after: &Stat) -> String {
    let mut text = String::new();
    for (letter, before, after) in [
        ('a', (before.st_atime, before.st_atime_nsec), (after.st_atime, after.st_atime_nsec)),
        ('m', (before.st_mtime, before.st_mtime_nsec), (after.st_mtime, after.st_mtime_nsec)),
        ('c', (before.st_ctime, before.st_ctime_nsec), (after.st_ctime, after.st_ctime_nsec)),
    ] {
        if after > before {
            text.push(letter);
        }
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// Writes until nothing fits any more.
fn fill(file: BorrowedFd<'_>) -> Outcome {
    let block = [b'x'; 4096];
    for _ in 0..4096 {
        rustix::io::write(file, &block)?;
    }
    rfs::fsync(file)?;
    Ok("endless".to_owned())
}

/// Makes empty files until no more can be made.
fn fill_names(directory: &str) -> Outcome {
    for index in 0..4096 {
        let path = Path::new(directory).join(format!("n{index}"));
        rfs::open(&path, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644))?;
    }
    Ok("endless".to_owned())
}

//! Writing an archive's `rootfs` entries below a directory.
//!
//! Responsible for: files with their holes, links, devices, owners, modes, times and the extended attributes that
//! matter. Must not know: stores, dependencies (a [`Selection`] decides what is wanted). Follows rkt-reference.md
//! 2.9; nothing is synced here, the caller syncs the whole file system once.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fsetxattr, ftruncate, futimens, linkat, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::archive::read_error;
use super::root::{Root, remove_tree};
use super::sparse::SparseMap;
use super::{Archive, Entry, EntryKind, EntryName, ExtractError};

/// Directories are writable for us until everything in them is written.
const UNFINISHED_DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);
/// Files are closed to everyone until owner and mode are right.
const UNFINISHED_FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// Bytes moved at once between archive and file.
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// Decides which entries of an archive are written: path below `rootfs`, and whether it is a directory.
pub type Selection<'a> = dyn Fn(&OsStr, bool) -> bool + 'a;

/// Writes the selected `rootfs` entries of the archive in `source` into the directory `rootfs`. What is already there
/// is replaced; directories are kept and get the entry's owner, mode and time. Reads `source` to its end.
///
/// Owners, devices and privileged attributes need root; without it, owners are left alone.
pub fn extract(source: impl Read, rootfs: &Path, select: &Selection<'_>) -> Result<(), ExtractError> {
    let write_top = |cause: io::Error| ExtractError::write("open", rootfs.as_os_str().as_bytes(), cause);
    let mut extraction = Extraction {
        root: Root::open(rootfs).map_err(write_top)?,
        keep_owners: rustix::process::geteuid().is_root(),
        directories: HashMap::new(),
        buffer: vec![0; COPY_BUFFER_BYTES],
    };
    let mut archive = Archive::new(source);
    while let Some(entry) = archive.next_entry()? {
        let EntryName::Rootfs(path) = EntryName::parse(&entry.name)? else {
            continue;
        };
        if select(&path, entry.kind == EntryKind::Directory) {
            extraction.write(&path, &entry, &mut archive.data())?;
        }
    }
    archive.finish()?;
    extraction.finish_directories()
}

struct Extraction {
    root: Root,
    keep_owners: bool,
    /// Directories whose owner, mode and time are set last: writing into them changes the time.
    directories: HashMap<OsString, Entry>,
    buffer: Vec<u8>,
}

impl Extraction {
    fn write(&mut self, path: &OsStr, entry: &Entry, data: &mut dyn Read) -> Result<(), ExtractError> {
        let failed =
            |operation, cause: io::Error| ExtractError::write(operation, &entry.name, explained(cause));
        if path.is_empty() {
            if entry.kind != EntryKind::Directory {
                return Err(ExtractError::refused(&entry.name, "the root of an image must be a directory"));
            }
            self.directories.insert(OsString::new(), entry.clone());
            return Ok(());
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.directory(path).map_err(|e| failed("create directory", e))?;
                self.directories.insert(path.to_owned(), entry.clone());
            }
            EntryKind::File(map) => {
                self.clear(path).map_err(|e| failed("replace", e))?;
                self.file(path, entry, map.as_ref(), data)?;
            }
            EntryKind::HardLink(target) => self.hard_link(path, entry, target)?,
            EntryKind::Symlink(target) => {
                self.clear(path).map_err(|e| failed("replace", e))?;
                let keep_owners = self.keep_owners;
                self.root
                    .in_parent(path, |parent, name| {
                        symlinkat(OsStr::from_bytes(target), parent, name)?;
                        set_owner_and_time(parent, name, entry, keep_owners)
                    })
                    .map_err(|e| failed("create symbolic link", e))?;
            }
            EntryKind::Fifo => self.node(path, entry, FileType::Fifo, 0)?,
            EntryKind::CharDevice(major, minor) => {
                self.node(path, entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))?;
            }
            EntryKind::BlockDevice(major, minor) => {
                self.node(path, entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))?;
            }
        }
        Ok(())
    }

    /// Removes whatever is at `path`.
    fn clear(&mut self, path: &OsStr) -> io::Result<()> {
        let was_directory = self.root.in_parent(path, |parent, name| {
            match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(false),
                Err(e) => Err(e.into()),
                Ok(stat) => {
                    remove_tree(parent, name)?;
                    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                }
            }
        })?;
        if was_directory {
            self.root.forget();
        }
        Ok(())
    }

    fn directory(&mut self, path: &OsStr) -> io::Result<()> {
        let exists = self.root.in_parent(path, |parent, name| {
            match mkdirat(parent, name, UNFINISHED_DIRECTORY_MODE) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => {
                    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                }
                Err(e) => Err(e.into()),
            }
        })?;
        if exists {
            return Ok(());
        }
        self.clear(path)?;
        self.root.in_parent(path, |parent, name| Ok(mkdirat(parent, name, UNFINISHED_DIRECTORY_MODE)?))
    }

    fn file(
        &mut self,
        path: &OsStr,
        entry: &Entry,
        map: Option<&SparseMap>,
        data: &mut dyn Read,
    ) -> Result<(), ExtractError> {
        let failed =
            |operation, cause: io::Error| ExtractError::write(operation, &entry.name, explained(cause));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = self
            .root
            .in_parent(path, |parent, name| {
                Ok(File::from(openat(parent, name, flags, UNFINISHED_FILE_MODE)?))
            })
            .map_err(|e| failed("create", e))?;
        match map {
            None => self.copy(entry, data, &mut file, entry.data_bytes)?,
            Some(map) => {
                ftruncate(&file, map.size).map_err(|e| failed("extend", e.into()))?;
                for segment in &map.segments {
                    file.seek(SeekFrom::Start(segment.offset)).map_err(|e| failed("seek in", e))?;
                    self.copy(entry, data, &mut file, segment.length)?;
                }
            }
        }
        // The owner first: changing it clears set-user-ID bits and capabilities.
        if self.keep_owners {
            fchown(&file, Some(uid(entry)), Some(gid(entry)))
                .map_err(|e| failed("set the owner of", e.into()))?;
        }
        fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(|e| failed("set the mode of", e.into()))?;
        set_xattrs(file.as_fd(), entry).map_err(|e| failed("set an extended attribute of", e))?;
        futimens(&file, &times(entry)).map_err(|e| failed("set the time of", e.into()))
    }

    fn copy(
        &mut self,
        entry: &Entry,
        data: &mut dyn Read,
        file: &mut File,
        mut left: u64,
    ) -> Result<(), ExtractError> {
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
            let count = match data.read(buffer) {
                Ok(0) => return Err(ExtractError::Truncated("it ends inside an entry's data")),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_error(e)),
            };
            file.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(|e| ExtractError::write("write", &entry.name, e))?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Gives an earlier entry another name. Its target is a name in the archive, parsed like any other, and reached
    /// without following links: so it cannot be a file of the host.
    fn hard_link(&mut self, path: &OsStr, entry: &Entry, target: &[u8]) -> Result<(), ExtractError> {
        let failed =
            |operation, cause: io::Error| ExtractError::write(operation, &entry.name, explained(cause));
        let EntryName::Rootfs(target_path) = EntryName::parse(target)
            .map_err(|e| ExtractError::refused(&entry.name, format!("hard link: {e}")))?
        else {
            return Err(ExtractError::refused(
                &entry.name,
                "it is a hard link to something outside the image's rootfs",
            ));
        };
        if target_path == path {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(target).into_owned();
        let missing = || {
            ExtractError::refused(
                &entry.name,
                format!("it is a hard link to {shown:?}, which is not in the image"),
            )
        };
        let (directory, name) = split(&target_path);
        let directory = self.root.directory(directory).map_err(|_| missing())?;
        match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(ExtractError::refused(
                    &entry.name,
                    format!("it is a hard link to the directory {shown:?}"),
                ));
            }
            Ok(_) => {}
            Err(_) => return Err(missing()),
        }
        // Replacing a directory that holds the target would remove the target first.
        if target_path.as_bytes().strip_prefix(path.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")) {
            return Err(ExtractError::refused(&entry.name, "it is a hard link to something inside itself"));
        }
        self.clear(path).map_err(|e| failed("replace", e))?;
        self.root
            .in_parent(path, |parent, link| Ok(linkat(&directory, name, parent, link, AtFlags::empty())?))
            .map_err(|e| failed("create hard link", e))
    }

    /// Makes a device or a pipe. It is never opened: on the host it would be the host's device.
    fn node(&mut self, path: &OsStr, entry: &Entry, kind: FileType, device: u64) -> Result<(), ExtractError> {
        let failed =
            |operation, cause: io::Error| ExtractError::write(operation, &entry.name, explained(cause));
        self.clear(path).map_err(|e| failed("replace", e))?;
        let keep_owners = self.keep_owners;
        self.root
            .in_parent(path, |parent, name| {
                mknodat(parent, name, kind, UNFINISHED_FILE_MODE, device)?;
                set_owner_and_time(parent, name, entry, keep_owners)?;
                // Follows links, but the node was made just now, exclusively, in a directory nobody else writes to.
                chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
                // Changing the mode does not touch the time of the content, so the order is safe.
                Ok(())
            })
            .map_err(|e| failed("create device", e))
    }

    fn finish_directories(mut self) -> Result<(), ExtractError> {
        let mut directories: Vec<(OsString, Entry)> = self.directories.drain().collect();
        // The deepest first, so that a closed directory does not bar the way to those in it.
        directories.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (path, entry) in directories {
            let failed = |operation, cause: io::Error| ExtractError::write(operation, &entry.name, cause);
            let fd = match self.root.directory(&path) {
                Ok(fd) => fd,
                // A later entry replaced it by something else.
                Err(e)
                    if matches!(
                        Errno::from_io_error(&e),
                        Some(Errno::NOTDIR | Errno::LOOP | Errno::NOENT)
                    ) =>
                {
                    continue;
                }
                Err(e) => return Err(failed("open", e)),
            };
            if self.keep_owners {
                fchown(&fd, Some(uid(&entry)), Some(gid(&entry)))
                    .map_err(|e| failed("set the owner of", e.into()))?;
            }
            fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(|e| failed("set the mode of", e.into()))?;
            set_xattrs(fd.as_fd(), &entry).map_err(|e| failed("set an extended attribute of", e))?;
            futimens(&fd, &times(&entry)).map_err(|e| failed("set the time of", e.into()))?;
        }
        Ok(())
    }
}

/// Parent and last component.
fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            OsStr::from_bytes(bytes.get(..at).unwrap_or_default()),
            OsStr::from_bytes(bytes.get(at + 1..).unwrap_or_default()),
        ),
        None => (OsStr::new(""), path),
    }
}

/// What the kernel means when it refuses to walk on. Which of the two numbers it gives for a symbolic link depends on
/// where on the path the link is.
fn explained(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::NOTDIR) => {
            io::Error::other("something on its path is a symbolic link or a file instead of a directory")
        }
        _ => error,
    }
}

fn uid(entry: &Entry) -> Uid {
    Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> Gid {
    Gid::from_raw(entry.gid)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn set_owner_and_time(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    keep_owner: bool,
) -> io::Result<()> {
    if keep_owner {
        chownat(parent, name, Some(uid(entry)), Some(gid(entry)), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Only capabilities and users' own attributes: others (labels of security modules, ACLs of the builder's users)
/// belong to the machine that made the image.
fn set_xattrs(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    for (name, value) in &entry.xattrs {
        if name.starts_with(b"security.capability") || name.starts_with(b"user.") {
            fsetxattr(fd, name.as_slice(), value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

//! What an image holds at a mount point, put into the empty volume that will cover it.
//!
//! Responsible for: a copy with owners, modes, times, links, devices and extended attributes. Must not know: which volumes want
//! one. Follows rkt-reference 6.5, "docker-implicit" volumes.
//!
//! The image's own links decide where its mount point is, but never lead out of its root. Below it, nothing is
//! followed, and nobody else writes to either side: the pod has not started.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// The kernel's own limits on an extended attribute and on the list of their names (xattr(7)).
const MAX_XATTR_BYTES: usize = 64 * 1024;

/// Copies what the directory `path` of the root file system `root` holds into the empty directory `target`, with the
/// directory's owner and mode. False when there is no such directory, or when it holds nothing to copy.
pub fn prefill(root: &Path, path: &str, target: &Path) -> io::Result<bool> {
    let Some(source) = directory_in(root, path)? else { return Ok(false) };
    // The walk names everything by paths, and this one stays inside the root whatever its links say.
    let start = PathBuf::from(format!("/proc/self/fd/{}/.", source.as_raw_fd()));
    let mut directories = vec![(start.clone(), target.to_owned())];
    let mut waiting = directories.clone();
    let mut linked = HashMap::new();
    while let Some((source, target)) = waiting.pop() {
        for entry in fs::read_dir(&source)? {
            let entry = entry?;
            let (source, target) = (entry.path(), target.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                fs::create_dir(&target)?;
                directories.push((source.clone(), target.clone()));
                waiting.push((source, target));
            } else {
                copy_entry(&source, &target, &mut linked)?;
            }
        }
    }
    // Children change their parents' times, so parents come last.
    for (source, target) in directories.iter().rev() {
        copy_metadata(source, target, &fs::metadata(source)?)?;
    }
    Ok(true)
}

fn directory_in(root: &Path, path: &str) -> io::Result<Option<OwnedFd>> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Device and inode of files with several names, and the first name given to them in the copy.
type Linked = HashMap<(u64, u64), PathBuf>;

fn copy_entry(source: &Path, target: &Path, linked: &mut Linked) -> io::Result<()> {
    let metadata = source.symlink_metadata()?;
    if metadata.nlink() > 1 {
        if let Some(first) = linked.get(&(metadata.dev(), metadata.ino())) {
            return fs::hard_link(first, target);
        }
        linked.insert((metadata.dev(), metadata.ino()), target.to_owned());
    }
    match FileType::from_raw_mode(metadata.mode()) {
        FileType::Symlink => std::os::unix::fs::symlink(fs::read_link(source)?, target)?,
        FileType::RegularFile => {
            io::copy(&mut File::open(source)?, &mut File::create_new(target)?)?;
        }
        // Nobody listens on a copied socket.
        FileType::Socket => return Ok(()),
        node => rustix::fs::mknodat(CWD, target, node, Mode::from_raw_mode(0o600), metadata.rdev())?,
    }
    copy_metadata(source, target, &metadata)
}

/// Owner first, since changing it clears set-ID bits and capabilities; times last.
fn copy_metadata(source: &Path, target: &Path, metadata: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    rustix::fs::chownat(CWD, target, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !metadata.file_type().is_symlink() {
        rustix::fs::chmod(target, Mode::from_raw_mode(metadata.mode() & 0o7777))?;
    }
    copy_attributes(source, target)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() },
    };
    Ok(rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_attributes(source: &Path, target: &Path) -> io::Result<()> {
    let mut names = vec![0; MAX_XATTR_BYTES];
    let length = match rustix::fs::llistxattr(source, &mut names) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // An overlay's marks say how its layers lie, nothing of the file.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; MAX_XATTR_BYTES];
        let length = rustix::fs::lgetxattr(source, name, &mut value)?;
        value.truncate(length);
        rustix::fs::lsetxattr(target, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

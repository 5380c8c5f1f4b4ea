//! Copying a rendered tree into a pod that does not use overlays.
//!
//! Responsible for: a copy that cannot be told from the original: owners, modes, times, links, devices, extended
//! attributes, holes. Must not know: images, pods. Follows rkt-reference.md 2.5.
//!
//! Paths are safe here: nothing else writes to either tree meanwhile, and the walk only goes down real directories.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::user_range::UserRange;
use crate::error::{FileContext, Result};

/// A security label, an ACL and a few user attributes fit many times over.
const MAX_XATTR_BYTES: usize = 64 * 1024;

/// Copies the directory `source` to `target`, which may exist as an empty directory. With `users` every owner is moved into that
/// range of IDs.
pub fn copy_tree(source: &Path, target: &Path, users: Option<UserRange>) -> Result<()> {
    let mut copy = Copy { users, ..Copy::default() };
    copy.directory(source, target)?;
    while let Some((source, target)) = copy.waiting.pop() {
        copy.children(&source, &target)?;
    }
    // Children change their parents' times, so parents come last.
    for (source, target, metadata) in copy.directories.iter().rev() {
        finish(source, target, metadata, users)?;
    }
    Ok(())
}

#[derive(Default)]
struct Copy {
    users: Option<UserRange>,
    waiting: Vec<(PathBuf, PathBuf)>,
    directories: Vec<(PathBuf, PathBuf, Metadata)>,
    /// Device and inode of files with several names, and the first name given to them here.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn directory(&mut self, source: &Path, target: &Path) -> Result<()> {
        let metadata = source.symlink_metadata().file("inspect", source)?;
        match std::fs::create_dir(target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.file("create", target)?,
        }
        self.waiting.push((source.to_owned(), target.to_owned()));
        self.directories.push((source.to_owned(), target.to_owned(), metadata));
        Ok(())
    }

    fn children(&mut self, source: &Path, target: &Path) -> Result<()> {
        for entry in std::fs::read_dir(source).file("read", source)? {
            let entry = entry.file("read", source)?;
            self.child(&entry.path(), &target.join(entry.file_name()))?;
        }
        Ok(())
    }

    fn child(&mut self, source: &Path, target: &Path) -> Result<()> {
        let metadata = source.symlink_metadata().file("inspect", source)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.directory(source, target);
        }
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&inode) {
                return std::fs::hard_link(first, target).file("link", target);
            }
            self.linked.insert(inode, target.to_owned());
        }
        if kind.is_symlink() {
            let text = std::fs::read_link(source).file("read", source)?;
            std::os::unix::fs::symlink(text, target).file("create", target)?;
        } else if kind.is_file() {
            let from = File::open(source).file("open", source)?;
            let to = File::create_new(target).file("create", target)?;
            copy_content(from, to, metadata.len()).file("copy", source)?;
        } else if kind.is_socket() {
            // Nobody listens on a copied socket.
            return Ok(());
        } else {
            let node = if kind.is_char_device() {
                FileType::CharacterDevice
            } else if kind.is_block_device() {
                FileType::BlockDevice
            } else {
                FileType::Fifo
            };
            fs::mknodat(fs::CWD, target, node, Mode::from_raw_mode(0o600), metadata.rdev())
                .file("create", target)?;
        }
        finish(source, target, &metadata, self.users)
    }
}

/// Shares the blocks where the file system can; else copies what is not a hole, inside the kernel.
fn copy_content(mut from: File, mut to: File, size: u64) -> io::Result<()> {
    if fs::ioctl_ficlone(&to, &from).is_ok() {
        return Ok(());
    }
    to.set_len(size)?;
    let mut end = 0;
    loop {
        let start = match fs::seek(&from, fs::SeekFrom::Data(end)) {
            Ok(start) => start,
            // Nothing but a hole from there on.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        end = fs::seek(&from, fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(&mut (&mut from).take(end.saturating_sub(start)), &mut to)?;
    }
}

/// Owner first, since changing it clears set-user-ID bits and capabilities; times last.
fn finish(source: &Path, target: &Path, metadata: &Metadata, users: Option<UserRange>) -> Result<()> {
    let shift = |id| users.map_or(Ok(id), |users| users.shift(id)).file("copy", source);
    let (owner, group) = (Uid::from_raw(shift(metadata.uid())?), Gid::from_raw(shift(metadata.gid())?));
    fs::chownat(fs::CWD, target, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .file("change", target)?;
    if !metadata.file_type().is_symlink() {
        let mode = Mode::from_raw_mode(metadata.mode() & 0o7777);
        fs::chmodat(fs::CWD, target, mode, AtFlags::empty()).file("change", target)?;
    }
    copy_attributes(source, target)?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() },
        last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() },
    };
    fs::utimensat(fs::CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW).file("change", target)
}

fn copy_attributes(source: &Path, target: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = vec![0; MAX_XATTR_BYTES];
    let length = match fs::llistxattr(source, &mut names) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length.file("read attributes of", source)?,
    };
    names.truncate(length);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = vec![0; MAX_XATTR_BYTES];
        let length = fs::lgetxattr(source, name, &mut value).file("read attributes of", source)?;
        value.truncate(length);
        fs::lsetxattr(target, name, &value, XattrFlags::empty()).file("write attributes of", target)?;
    }
    Ok(())
}

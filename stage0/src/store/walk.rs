//! Walking a tree of strangers' files.
//!
//! Responsible for: visiting everything below a directory in one order, the same on every host. Never follows a link,
//! never opens anything but directories, and does not recurse, so depth costs no stack. Must not know: what for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use crate::extract::{is_kept, listed_xattrs};

/// Longest extended attribute that the kernel gives (XATTR_SIZE_MAX).
const MAX_XATTR_BYTES: usize = 64 * 1024;

/// What was found.
pub(super) struct Found<'a> {
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Below the root, without a leading slash; empty for the root.
    pub path: &'a [u8],
    /// About itself, not what it links to.
    pub stat: Stat,
}

impl Found<'_> {
    /// What it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is a directory, which is walked into after the visit.
    pub fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// A regular file's or a directory's content. Refuses everything else, whose opening could have effects.
    pub fn open(&self) -> io::Result<File> {
        match self.kind() {
            FileType::RegularFile | FileType::Directory => Ok(open(self.parent, self.name)?.into()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// A symbolic link's text.
    pub fn link(&self) -> io::Result<Vec<u8>> {
        match self.kind() {
            FileType::Symlink => Ok(readlinkat(self.parent, self.name, Vec::new())?.into_bytes()),
            _ => Ok(Vec::new()),
        }
    }
}

/// Visits the root and everything below it: a directory before what is in it, in the order of names.
pub(super) fn walk<E: From<io::Error>>(
    root: File,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let root = OwnedFd::from(root);
    let stat = rustix::fs::fstat(&root).map_err(io::Error::from)?;
    visit(&Found { parent: root.as_fd(), name: OsStr::new("."), path: b"", stat })?;
    let names = names_in(&root)?;
    let mut waiting = vec![(root, Vec::new(), names)];
    while let Some((directory, path, names)) = waiting.last_mut() {
        let Some(name) = names.pop() else {
            waiting.pop();
            continue;
        };
        let mut child_path = path.clone();
        if !child_path.is_empty() {
            child_path.push(b'/');
        }
        child_path.extend_from_slice(name.as_bytes());
        let stat = statat(&*directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        let found = Found { parent: directory.as_fd(), name: &name, path: &child_path, stat };
        visit(&found)?;
        if found.is_directory() {
            let child = open(directory.as_fd(), &name).map_err(io::Error::from)?;
            let names = names_in(&child)?;
            waiting.push((child, child_path, names));
        }
    }
    Ok(())
}

/// The attributes of an open file that belong to an image, by name.
pub(super) fn xattrs(file: &File) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = listed_xattrs(file)?;
    names.retain(|name| is_kept(name));
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let mut value = vec![0; MAX_XATTR_BYTES];
        let length = rustix::fs::fgetxattr(file, name.as_slice(), &mut value)?;
        value.truncate(length);
        found.push((name, value));
    }
    Ok(found)
}

/// Reads a file to its end, a buffer at a time.
pub(super) fn read_all<E: From<io::Error>>(
    mut file: impl Read,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(buffer.get(..count).unwrap_or_default())?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(parent, name, flags, Mode::empty())
}

/// The names in a directory, last one first, so that popping yields them in order.
fn names_in(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = crate::extract::names_in(directory)?;
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

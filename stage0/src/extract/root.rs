//! The one directory that an archive is written below.
//!
//! Responsible for: reaching directories below it, and only below it, without ever following a symbolic link; removing
//! whole trees the same way. Must not know: archives. Follows openat2(2): the kernel enforces what a check of ours
//! could lose in a race.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

/// Mode of directories that no entry describes, as rkt makes them.
const IMPLIED_DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Beneath, and through real directories only.
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory that entries are written below.
pub(super) struct Root {
    fd: OwnedFd,
    /// The directory used last: archives list one directory's files together, and a lookup less per file is most of them.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
        Ok(Self { fd, last: None })
    }

    /// Opens the directory at `path` (components joined by `/`, none of them special; empty for the root itself).
    pub fn directory(&self, path: &OsStr) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { OsStr::new(".") } else { path };
        Ok(openat2(&self.fd, path, OFlags::RDONLY | DIRECTORY, Mode::empty(), RESOLVE)?)
    }

    /// Splits `path` and calls `act` with its parent directory and its last component; missing parents are made.
    pub fn in_parent<T>(
        &mut self,
        path: &OsStr,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let bytes = path.as_bytes();
        let slash = bytes.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match slash {
            Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
            None => (&[][..], bytes),
        };
        if self.last.as_ref().is_none_or(|(path, _)| path != parent) {
            let fd = self.make_directory(OsStr::from_bytes(parent))?;
            self.last = Some((parent.to_vec(), fd));
        }
        match &self.last {
            Some((_, fd)) => act(fd.as_fd(), OsStr::from_bytes(name)),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Forgets the directory used last; needed after something that could have been it was removed.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn make_directory(&self, path: &OsStr) -> io::Result<OwnedFd> {
        match self.directory(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut fd = self.directory(OsStr::new(""))?;
        for component in path.as_bytes().split(|byte| *byte == b'/') {
            let component = OsStr::from_bytes(component);
            match mkdirat(&fd, component, IMPLIED_DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            fd = openat2(&fd, component, OFlags::RDONLY | DIRECTORY, Mode::empty(), RESOLVE)?;
        }
        Ok(fd)
    }
}

/// Removes `name` in `parent` and, if it is a directory, everything in it. Never follows a symbolic link and does
/// not recurse, so depth costs no stack. Nothing there is no error.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let kind = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if kind != FileType::Directory {
        return Ok(unlinkat(parent, name, AtFlags::empty())?);
    }
    // The way down by name and identity instead of by descriptor: apps can nest deeper than a process has descriptors.
    let mut path: Vec<(CString, (u64, u64))> = Vec::new();
    let mut current = openat(parent, name, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
    loop {
        match first_directory_after_removing_files(&current)? {
            Some(name) => {
                path.push((name.clone(), identity(&current)?));
                current = openat(&current, name, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
            }
            None => match path.pop() {
                Some((name, expected)) => {
                    current = openat(&current, "..", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
                    if identity(&current)? != expected {
                        return Err(io::Error::other("a directory was moved while it was being removed"));
                    }
                    unlinkat(&current, name, AtFlags::REMOVEDIR)?;
                }
                None => break,
            },
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// What makes a directory this one and no other.
fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Unlinks everything in `directory` that is no directory, until the first that is one.
fn first_directory_after_removing_files(directory: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => return Ok(Some(name.to_owned())),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(None)
}

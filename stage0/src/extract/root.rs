//! The one directory that an archive is written below.
//!
//! Responsible for: reaching directories below it, and only below it, without ever following a symbolic link; removing
//! whole trees the same way. Must not know: archives. Follows openat2(2): the kernel enforces what a check of ours
//! could lose in a race.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fstat, mkdirat, openat,
    openat2, statat, unlinkat,
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
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories that entries were written into, with the times they had before. Whoever knows better forgets them.
    pub times: HashMap<OsString, Timestamps>,
}

impl Root {
    /// Takes an open directory.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, last: None, times: HashMap::new() }
    }

    /// Opens the directory at `path` (components joined by `/`, none of them special; empty for the root itself).
    pub fn directory(&self, path: &OsStr) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { OsStr::new(".") } else { path };
        Ok(openat2(&self.fd, path, OFlags::RDONLY | DIRECTORY, Mode::empty(), RESOLVE)?)
    }

    /// The directory at `path`, about to be written into; missing ones on the way are made.
    pub fn directory_to_change(&mut self, path: &OsStr) -> io::Result<Rc<OwnedFd>> {
        if let Some((last, fd)) = &self.last
            && last == path.as_bytes()
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(self.make_directory(path)?);
        self.last = Some((path.as_bytes().to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Forgets the directory used last; needed after something that could have been it was removed.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn make_directory(&mut self, path: &OsStr) -> io::Result<OwnedFd> {
        match self.directory(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(fd) => {
                self.remember_times(path, &fd)?;
                return Ok(fd);
            }
            Err(e) => return Err(e),
        }
        let mut fd = self.directory(OsStr::new(""))?;
        let mut end = 0;
        for component in path.as_bytes().split(|byte| *byte == b'/') {
            let parent = path.as_bytes().get(..end).unwrap_or_default();
            self.remember_times(OsStr::from_bytes(parent), &fd)?;
            end += component.len() + usize::from(end > 0);
            let component = OsStr::from_bytes(component);
            match mkdirat(&fd, component, IMPLIED_DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            fd = openat2(&fd, component, OFlags::RDONLY | DIRECTORY, Mode::empty(), RESOLVE)?;
        }
        Ok(fd)
    }

    fn remember_times(&mut self, path: &OsStr, fd: &OwnedFd) -> io::Result<()> {
        if !self.times.contains_key(path) {
            let stat = fstat(fd)?;
            let at = |seconds: i64, nanoseconds: u64| Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds.try_into().unwrap_or(0),
            };
            let times = Timestamps {
                last_access: at(stat.st_atime, stat.st_atime_nsec),
                last_modification: at(stat.st_mtime, stat.st_mtime_nsec),
            };
            self.times.insert(path.to_owned(), times);
        }
        Ok(())
    }
}

/// Parent and last component.
pub(super) fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            OsStr::from_bytes(bytes.get(..at).unwrap_or_default()),
            OsStr::from_bytes(bytes.get(at + 1..).unwrap_or_default()),
        ),
        None => (OsStr::new(""), path),
    }
}

/// Whether the `name` in `parent` is a directory and no link to one.
pub(super) fn is_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The names in a directory, in no order.
pub fn names_in(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
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

//! Paths inside an app's root, resolved as the app would: symbolic links included, and never out of it.
//!
//! Responsible for: opening, reading and creating beneath a directory that the image's author filled. Must not know:
//! why. Follows openat2(2), RESOLVE_IN_ROOT.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The kernel's own limit on symbolic links in one path.
const MAX_LINKS: u32 = 40;

/// How often the kernel may say that a rename elsewhere disturbed the resolution of `..`.
const MAX_ATTEMPTS: u32 = 16;

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// What [`RootDir::ensure`] creates at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// An open root directory.
#[derive(Debug)]
pub struct RootDir {
    directory: OwnedFd,
}

impl RootDir {
    /// Opens a directory of the calling process's own view as a root.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a path inside the root; `O_CLOEXEC` is always set.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_with_mode(path, flags, Mode::empty())
    }

    /// Attributes of what a path leads to.
    pub fn stat(&self, path: &Path) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.open_at(path, OFlags::PATH)?)
    }

    /// Attributes of the path itself, even if it is a symbolic link.
    pub fn lstat(&self, path: &Path) -> Result<Stat, Errno> {
        rustix::fs::fstat(self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?)
    }

    /// The first `limit` bytes of a regular file.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, Errno> {
        // Non-blocking: what looks like a file to the caller may be a pipe that nobody writes to.
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let mut content = vec![0; limit];
        let mut length = 0;
        while let Some(rest) = content.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&file, rest) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        content.truncate(length);
        Ok(content)
    }

    /// Opens a path (`O_PATH`), creating what is missing of it: parents as directories, the end as `kind`. A dangling
    /// symbolic link gets what it points to.
    pub fn ensure(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let mut pending = Vec::new();
        push_reversed(&mut pending, path);
        // Free of symbolic links at all times, so `..` is what it says.
        let mut here = PathBuf::from(".");
        let mut depth = 0_usize;
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == ".." {
                if depth > 0 {
                    here.pop();
                    depth -= 1;
                }
                continue;
            }
            let next = here.join(&name);
            match self.open_at(&next, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(entry) => {
                    if let Some(target) = link_target(&entry)? {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::LOOP);
                        }
                        if target.is_absolute() {
                            here = PathBuf::from(".");
                            depth = 0;
                        }
                        push_reversed(&mut pending, &target);
                        continue;
                    }
                }
                Err(Errno::NOENT) => {
                    let kind = if pending.is_empty() { kind } else { Kind::Directory };
                    self.create(&here, &name, kind)?;
                }
                Err(error) => return Err(error),
            }
            here = next;
            depth += 1;
        }
        self.open_at(&here, OFlags::PATH)
    }

    fn create(&self, parent: &Path, name: &OsStr, kind: Kind) -> Result<(), Errno> {
        let parent = self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let created = match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE)),
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(FILE_MODE)).map(drop)
            }
        };
        // Another app of the pod may have been quicker, in a volume that both have.
        created.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
    }

    fn open_with_mode(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 0;
        loop {
            match rustix::fs::openat2(&self.directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) if attempts < MAX_ATTEMPTS => attempts += 1,
                outcome => return outcome,
            }
        }
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn push_reversed(pending: &mut Vec<OsString>, path: &Path) {
    pending.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

fn link_target(entry: &OwnedFd) -> Result<Option<PathBuf>, Errno> {
    if FileType::from_raw_mode(rustix::fs::fstat(entry)?.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = rustix::fs::readlinkat(entry, "", Vec::new())?;
    Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
}

//! Locks on files and directories, shared with every other rkt on the host.
//!
//! Responsible for: flock, and files that exist only to be locked. Must not know: what a lock protects. Follows
//! rkt-reference.md 2.4 ("Key locks").

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fstat, stat};

use super::StoreError;
use super::permissions::{SHARED_DIRECTORY, SHARED_FILE, make_directory, share};
use crate::fault;

/// How often a replaced lock file is tried again. Every removal of an image replaces its lock file once.
const ATTEMPTS: usize = 64;

/// Whether others may hold the lock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Many readers.
    Shared,
    /// One writer.
    Exclusive,
}

impl LockKind {
    fn operation(self, wait: Wait) -> FlockOperation {
        match (self, wait) {
            (Self::Shared, Wait::Yes) => FlockOperation::LockShared,
            (Self::Shared, Wait::No) => FlockOperation::NonBlockingLockShared,
            (Self::Exclusive, Wait::Yes) => FlockOperation::LockExclusive,
            (Self::Exclusive, Wait::No) => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

/// Whether to wait for a lock that others hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

/// A held lock. Dropping it releases it; so does the end of the process, however it comes.
#[derive(Debug)]
pub struct KeyLock {
    file: File,
}

impl KeyLock {
    /// Locks the file `key` in `directory`, making either if missing; waits for it.
    pub fn acquire(directory: &Path, key: &str, kind: LockKind) -> Result<Self, StoreError> {
        let path = directory.join(key);
        Self::file(directory, &path, kind, Wait::Yes)?.ok_or(StoreError::LockReplaced(path))
    }

    /// Like [`Self::acquire`], but `None` if others hold it.
    pub fn try_acquire(directory: &Path, key: &str, kind: LockKind) -> Result<Option<Self>, StoreError> {
        Self::file(directory, &directory.join(key), kind, Wait::No)
    }

    fn file(directory: &Path, path: &Path, kind: LockKind, wait: Wait) -> Result<Option<Self>, StoreError> {
        make_directory(directory, SHARED_DIRECTORY)?;
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(SHARED_FILE)
                // The group may write to the directory, and must not choose whose mode `share` sets.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
                .map_err(StoreError::file("open", path))?;
            share(&file, path)?;
            fault::point("lock.made");
            if !lock(&file, kind, wait).map_err(StoreError::file("lock", path))? {
                return Ok(None);
            }
            let held = fstat(&file).map_err(StoreError::file("stat", path))?;
            // Somebody may have removed or replaced the file between open and lock; then the lock guards nothing.
            if stat(path).is_ok_and(|found| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)) {
                return Ok(Some(Self { file }));
            }
        }
        Err(StoreError::LockReplaced(path.to_owned()))
    }

    /// Locks an existing directory; waits for it.
    pub fn directory(path: &Path, kind: LockKind) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::file("open", path))?;
        lock(&file, kind, Wait::Yes).map_err(StoreError::file("lock", path))?;
        Ok(Self { file })
    }

    /// Like [`Self::directory`], but `None` if others hold it.
    pub fn try_directory(path: &Path, kind: LockKind) -> Result<Option<Self>, StoreError> {
        let file = File::open(path).map_err(StoreError::file("open", path))?;
        let held = lock(&file, kind, Wait::No).map_err(StoreError::file("lock", path))?;
        Ok(held.then_some(Self { file }))
    }
}

/// For another process to hold the lock as well.
impl AsFd for KeyLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// False if others hold it.
fn lock(file: &File, kind: LockKind, wait: Wait) -> rustix::io::Result<bool> {
    loop {
        match rustix::fs::flock(file, kind.operation(wait)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if wait == Wait::No => return Ok(false),
            other => return other.map(|()| true),
        }
    }
}

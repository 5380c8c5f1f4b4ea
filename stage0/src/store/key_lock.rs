//! Locks on files and directories, shared with every other rkt on the host.
//!
//! Responsible for: flock, and files that exist only to be locked. Must not know: what a lock protects. Follows
//! rkt-reference.md 2.4 ("Key locks").

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fstat, stat};

use super::StoreError;
use super::permissions::{SHARED_DIRECTORY, SHARED_FILE, make_directory, share};

/// How often a replaced lock file is tried again.
const ATTEMPTS: usize = 3;

/// Whether others may hold the lock too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Many readers.
    Shared,
    /// One writer.
    Exclusive,
}

impl LockKind {
    fn operation(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::LockShared,
            Self::Exclusive => FlockOperation::LockExclusive,
        }
    }
}

/// A held lock. Dropping it releases it; so does the end of the process, however it comes.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

impl KeyLock {
    /// Locks the file `key` in `directory`, making either if missing; waits for it.
    pub fn acquire(directory: &Path, key: &str, kind: LockKind) -> Result<Self, StoreError> {
        make_directory(directory, SHARED_DIRECTORY)?;
        let path = directory.join(key);
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(SHARED_FILE)
                .open(&path)
                .map_err(StoreError::file("open", &path))?;
            share(&file, &path)?;
            lock(&file, kind).map_err(StoreError::file("lock", &path))?;
            let held = fstat(&file).map_err(StoreError::file("stat", &path))?;
            // Somebody may have removed or replaced the file between open and lock; then the lock guards nothing.
            if stat(&path).is_ok_and(|found| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)) {
                return Ok(Self { _file: file });
            }
        }
        Err(StoreError::LockReplaced(path))
    }

    /// Locks an existing directory; waits for it.
    pub fn directory(path: &Path, kind: LockKind) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::file("open", path))?;
        lock(&file, kind).map_err(StoreError::file("lock", path))?;
        Ok(Self { _file: file })
    }
}

fn lock(file: &File, kind: LockKind) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(file, kind.operation()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

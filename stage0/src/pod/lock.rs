//! Advisory locks on pod directories.
//!
//! Responsible for: taking and probing flock(2) locks. Must not know: what a lock protects. Follows
//! rkt-reference.md 2.4 and flock(2).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Opens a directory so that it can be locked.
pub fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Waits until the lock is ours alone.
pub fn lock_exclusive(fd: &OwnedFd) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| fs::flock(fd, FlockOperation::LockExclusive))
}

/// Takes the lock alone if nobody holds it; false when someone does.
pub fn try_lock_exclusive(fd: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::io::retry_on_intr(|| fs::flock(fd, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock together with others that only look; false when someone holds it alone.
pub fn try_lock_shared(fd: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::io::retry_on_intr(|| fs::flock(fd, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether someone holds the lock exclusively. Leaves the lock as it was.
pub fn is_locked_exclusively(fd: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::io::retry_on_intr(|| fs::flock(fd, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => {
            fs::flock(fd, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error),
    }
}

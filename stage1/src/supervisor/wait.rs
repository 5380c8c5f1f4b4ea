//! Waiting for descriptors until a time.
//!
//! Responsible for: poll(2) and its timeout. Must not know: what is waited for. Follows poll(2).

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use super::error::SupervisorError;

/// Waits until one of the descriptors is ready, or until `at`.
pub fn poll_until(descriptors: &mut [PollFd<'_>], at: Option<Instant>) -> Result<(), SupervisorError> {
    let timeout = at.map(|at| {
        // Rounded up, so that the time has come when the wait is over.
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(descriptors, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SupervisorError::Wait(errno.into())),
    }
}

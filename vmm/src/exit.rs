//! How a virtual machine ended, and the latch that the first party to know it sets.
//!
//! Responsible for: handing exactly one outcome from whichever thread sees it first to the thread in
//! [`crate::Vm::run`]. Must not know: who sets it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::Error;

/// How a virtual machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The guest asked for a reset: an orderly shutdown, or a panic that `panic=-1` turned into one.
    Reset,
    /// A virtual CPU met an exception while delivering an exception while delivering an exception.
    TripleFault {
        /// Index of the virtual CPU.
        vcpu: u8,
        /// Its registers, as text for a log.
        registers: String,
    },
}

/// Set once; every later outcome is a consequence of the first and is dropped.
#[derive(Debug)]
pub struct ExitLatch {
    outcome: Mutex<Option<Result<Exit, Error>>>,
    /// Read by vCPU threads between two entries into the guest.
    stopping: AtomicBool,
    event: EventFd,
}

impl ExitLatch {
    /// An unset latch.
    pub fn new() -> Result<Self, Error> {
        let event = EventFd::new(EFD_NONBLOCK).map_err(Error::os("create an event descriptor"))?;
        Ok(ExitLatch { outcome: Mutex::new(None), stopping: AtomicBool::new(false), event })
    }

    /// Records the outcome unless there is one, and wakes the event loop.
    pub fn set(&self, outcome: Result<Exit, Error>) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.event.write(1) {
            log::error!("cannot wake the event loop: {error}");
        }
    }

    /// Whether an outcome was recorded.
    pub fn is_set(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Takes the outcome out.
    pub fn take(&self) -> Option<Result<Exit, Error>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Becomes readable when the latch is set.
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

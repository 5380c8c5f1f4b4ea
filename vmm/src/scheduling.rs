//! How soon the device thread gets a processor that others are using.
//!
//! Responsible for: telling the host's scheduler whether somebody waits for what the device thread does next. Must not know: who, or for
//! what. Follows sched(7), "SCHED_BATCH".
//!
//! A thread that is woken takes the processor from whoever runs there, if it has had less of it. Where that is who fills the
//! device's queue, it can put in one thing at a time and pays for a change of threads with each: the quicker the device, the slower
//! the whole. A thread under SCHED_BATCH waits for its turn instead, and finds everything that has come meanwhile. On a processor of
//! its own it runs at once either way.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Of the thread that made it.
pub struct Scheduling {
    /// The thread is scheduled as any other; whoever chose something else for it keeps it.
    adjustable: AtomicBool,
    batch: AtomicBool,
}

impl Scheduling {
    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        // SAFETY: it takes no pointer; 0 is the calling thread.
        let policy = unsafe { libc::sched_getscheduler(0) };
        Scheduling { adjustable: AtomicBool::new(policy == libc::SCHED_OTHER), batch: AtomicBool::new(false) }
    }

    /// What the thread does next can wait for its turn, or cannot. To be called by that thread.
    pub fn set_unhurried(&self, unhurried: bool) {
        if self.batch.load(Ordering::Relaxed) == unhurried || !self.adjustable.load(Ordering::Relaxed) {
            return;
        }
        let policy = if unhurried { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the kernel reads one `struct sched_param`; 0 is the calling thread.
        if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } < 0 {
            log::debug!("cannot choose how the device thread is scheduled: {}", io::Error::last_os_error());
            self.adjustable.store(false, Ordering::Relaxed);
            return;
        }
        self.batch.store(unhurried, Ordering::Relaxed);
    }
}

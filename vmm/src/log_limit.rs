//! A bound on what a guest can make the VMM log.
//!
//! Responsible for: letting the first messages of a burst through and counting the rest. Must not know: what is logged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages of one kind per [`WINDOW`]; enough to see a pattern.
const BURST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(5);

/// One limiter guards one place that logs.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    started: Instant,
    messages: u32,
}

impl LogLimit {
    /// A limiter that has let nothing through yet.
    pub const fn new() -> Self {
        LogLimit(Mutex::new(None))
    }

    /// Whether a message may be logged at `now`.
    pub fn admits(&self, now: Instant) -> bool {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.as_mut().filter(|window| now.saturating_duration_since(window.started) < WINDOW) {
            Some(window) => {
                window.messages = window.messages.saturating_add(1);
                window.messages <= BURST
            }
            None => {
                *slot = Some(Window { started: now, messages: 1 });
                true
            }
        }
    }
}

/// Logs a warning about something the guest did, at most so often from this place.
macro_rules! guest_warn {
    ($($message:tt)+) => {{
        static LIMIT: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new();
        if LIMIT.admits(std::time::Instant::now()) {
            log::warn!($($message)+);
        }
    }};
}
pub(crate) use guest_warn;

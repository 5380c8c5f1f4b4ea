//! The time at which patience with the guest ends.
//!
//! Responsible for: the earliest of several deadlines, and its delay while the guest has a reason to be slow. Must not know: what
//! is waited for, or how it is ended. Follows guest-api's `Stop` and `Halting`.

use std::time::{Duration, Instant};

/// The earliest deadline that was set, if any, and the reason that is given when it has passed.
#[derive(Debug, Default)]
pub struct Deadline(Option<(Instant, &'static str)>);

impl Deadline {
    /// It passes no later than `time` after `now`.
    pub fn within(&mut self, now: Instant, time: Duration, reason: &'static str) {
        let at = now + time;
        if self.0.is_none_or(|(earlier, _)| at < earlier) {
            self.0 = Some((at, reason));
        }
    }

    /// When to look again.
    pub fn at(&self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    /// A deadline that has passed is put off by `time`: whoever is waited for can do nothing about it.
    pub fn put_off(&mut self, now: Instant, time: Duration) {
        if let Some((at, _)) = &mut self.0
            && *at <= now
        {
            *at = now + time;
        }
    }

    /// The reason, once it has passed.
    pub fn passed(&self, now: Instant) -> Option<&'static str> {
        self.0.filter(|(at, _)| *at <= now).map(|(_, reason)| reason)
    }
}

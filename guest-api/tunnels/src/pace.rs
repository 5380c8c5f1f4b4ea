//! How often something may happen.
//!
//! Responsible for: so many times at once, then so many a second. Must not know: what happens. Follows the generic cell rate
//! algorithm (ITU-T I.371).

use std::time::{Duration, Instant};

/// A pace that is kept.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// How far ahead of its time an event may be.
    tolerance: Duration,
    /// When the next event were due if all of them came evenly.
    due: Option<Instant>,
}

impl Pace {
    /// `burst` times at once, `per_second` times a second after that. Neither is 0.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, tolerance: interval.saturating_mul(burst.saturating_sub(1)), due: None }
    }

    /// Whether it may happen now; if so, it does.
    pub fn allows(&mut self, now: Instant) -> bool {
        if self.when().is_some_and(|at| at > now) {
            return false;
        }
        self.due = self.due.unwrap_or(now).max(now).checked_add(self.interval);
        true
    }

    /// Since when, or from when on, it may happen; None at any time.
    pub fn when(&self) -> Option<Instant> {
        self.due?.checked_sub(self.tolerance)
    }
}

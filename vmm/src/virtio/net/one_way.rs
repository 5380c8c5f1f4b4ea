//! Whether frames only come, many of them, and the guest says nothing to that.
//!
//! Responsible for: telling a stream that nobody waits for from a conversation. Must not know: queues, what follows from it. Follows no
//! document.

use std::time::{Duration, Instant};

/// So many received frames are looked at together. What they take to be passed on is little beside ...
const WINDOW_FRAMES: u64 = 256;
/// ... the time in which they have to come: 5,000 a second. Waking the device thread for each of fewer costs nobody much.
const WINDOW: Duration = Duration::from_millis(51);
/// What the guest may send meanwhile: neighbours are looked for, connections open and close. An answer to each 32nd frame is a
/// conversation: TCP acknowledges every second frame at least, of which the host merges a dozen.
const ANSWERS: u64 = 8;

/// What passed lately.
#[derive(Debug, Default)]
pub struct OneWay {
    holds: bool,
    began: Option<Instant>,
    received: u64,
    sent: u64,
}

impl OneWay {
    /// Whether frames only come.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// The guest has received frames.
    pub fn received(&mut self, frames: u64, now: impl FnOnce() -> Instant) {
        self.received += frames;
        if self.began.is_some() && self.received < WINDOW_FRAMES {
            return;
        }
        let now = now();
        self.holds = self.began.is_some_and(|began| now.saturating_duration_since(began) <= WINDOW);
        *self = OneWay { holds: self.holds, began: Some(now), received: 0, sent: 0 };
    }

    /// The guest has sent frames.
    pub fn sent(&mut self, frames: u64) {
        self.sent += frames;
        if self.sent > ANSWERS {
            *self = OneWay::default();
        }
    }
}

//! What has happened since the service began to watch.
//!
//! Responsible for: keeping events in order for any number of listeners, each with a pace of its own. Must not know:
//! where events come from, filters. Follows rkt-reference.md 7.1.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::api::wire::Event;

/// Events that are remembered. A pod makes half a dozen of 200 bytes each in its life: these are the lives of 1,000 pods in
/// two megabytes.
pub const MAX_EVENTS: usize = 8192;

/// The last events, oldest first.
#[derive(Debug)]
pub struct History {
    kept: Mutex<Kept>,
    end: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    /// How many there were before the oldest that is kept.
    forgotten: u64,
}

/// Events that a listener has not seen were forgotten: it is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten;

impl Default for History {
    fn default() -> Self {
        History { kept: Mutex::default(), end: watch::Sender::new(0) }
    }
}

impl History {
    /// Adds events at the end.
    pub fn add(&self, events: impl IntoIterator<Item = Event>) {
        let mut kept = self.kept();
        kept.events.extend(events);
        while kept.events.len() > MAX_EVENTS {
            kept.events.pop_front();
            kept.forgotten += 1;
        }
        let end = kept.end();
        drop(kept);
        self.end.send_if_modified(|known| std::mem::replace(known, end) != end);
    }

    /// The position of the oldest event.
    pub fn start(&self) -> u64 {
        self.kept().forgotten
    }

    /// The position behind the newest event.
    pub fn end(&self) -> u64 {
        self.kept().end()
    }

    /// The events from a position on, at most `limit`.
    pub fn from(&self, position: u64, limit: usize) -> Result<Vec<Event>, Forgotten> {
        let kept = self.kept();
        let skip = position.checked_sub(kept.forgotten).ok_or(Forgotten)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok(kept.events.iter().skip(skip).take(limit).cloned().collect())
    }

    /// Tells when the end moves.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.forgotten.saturating_add(self.events.len() as u64)
    }
}

//! The last of what a guest's kernel wrote to its serial port.
//!
//! Responsible for: its latest bytes, as a part of what a machine shares with whoever watches it ([`crate::Metrics`]), so that they
//! outlive the machine. Must not know: what they say, and who asks.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is kept: the report of a panic and what a kernel says before it, about 200 lines. Pages that nothing was written to take
/// no memory.
const BYTES: usize = 16 << 10;

/// A ring of bytes.
#[derive(Debug)]
pub struct ConsoleTail {
    /// All that were ever written; the next one's place is this modulo [`BYTES`].
    written: AtomicU64,
    bytes: [AtomicU8; BYTES],
}

impl Default for ConsoleTail {
    fn default() -> Self {
        Self { written: AtomicU64::new(0), bytes: [const { AtomicU8::new(0) }; BYTES] }
    }
}

impl ConsoleTail {
    /// Adds what the guest wrote. There is one writer at a time.
    pub fn push(&self, bytes: &[u8]) {
        for byte in bytes {
            let position = self.written.fetch_add(1, Ordering::Relaxed);
            if let Some(place) = self.place(position) {
                place.store(*byte, Ordering::Relaxed);
            }
        }
    }

    /// What is kept, the oldest first. While the machine runs, the oldest bytes may already be the newest.
    pub fn bytes(&self) -> Vec<u8> {
        let written = self.written.load(Ordering::Relaxed);
        let oldest = written.saturating_sub(BYTES as u64);
        (oldest..written)
            .filter_map(|position| self.place(position))
            .map(|place| place.load(Ordering::Relaxed))
            .collect()
    }

    fn place(&self, position: u64) -> Option<&AtomicU8> {
        self.bytes.get(usize::try_from(position % BYTES as u64).ok()?)
    }
}

//! Frames from the guest to the tap.
//!
//! Responsible for: writing frames straight from the guest's buffers behind a start that was checked, and giving the buffers back. Must
//! not know: the event loop, other queues. Follows the virtio specification 1.2, section 5.1.6.2, "Packet Transmission".

use std::fs::File;
use std::io::ErrorKind;
use std::time::Instant;

use super::buffers::{self, Piece, Vectors};
use super::counters::NetCounters;
use super::features::Features;
use super::header::{CHECKED_BYTES, HEADER_BYTES, Header, MAX_FRAME_BYTES, MIN_FRAME_BYTES};
use super::rate::Limiter;
use super::{BYTES_PER_TURN, FRAMES_PER_TURN, Turn};
use crate::virtio::queue::{ActiveQueue, QueueError};

/// The sending half of a pair of queues.
pub struct Transmitter {
    queue: ActiveQueue,
    features: Features,
    /// The host's queue was full; there is an event when it no longer is.
    blocked: bool,
    pieces: Vec<Piece>,
    vectors: Vectors,
}

impl Transmitter {
    /// A transmitter for a driver that has just finished setting the queue up.
    pub fn new(queue: ActiveQueue, features: Features) -> Self {
        Transmitter { queue, features, blocked: false, pieces: Vec::new(), vectors: Vectors::default() }
    }

    /// The tap may take frames again. Whether that was waited for.
    pub fn set_writable(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Passes frames on until there is none, the host takes no more, the limit is reached, or others are to have their turn.
    pub fn turn(
        &mut self,
        tap: &File,
        limiter: &mut Limiter,
        counters: &NetCounters,
    ) -> Result<Turn, QueueError> {
        if self.blocked {
            return Ok(Turn::Over);
        }
        let outcome = self.transmit(tap, limiter, counters);
        self.queue.end_turn(outcome)
    }

    fn transmit(
        &mut self,
        tap: &File,
        limiter: &mut Limiter,
        counters: &NetCounters,
    ) -> Result<Turn, QueueError> {
        self.queue.refuse_notifications()?;
        let mut passed = 0;
        for _ in 0..FRAMES_PER_TURN {
            if passed >= BYTES_PER_TURN {
                break;
            }
            if let Some(wait) = limiter.limits().then(|| limiter.wait(Instant::now())).flatten() {
                counters.transmit_throttled.add(1);
                return Ok(Turn::After(wait));
            }
            let pieces = &mut self.pieces;
            pieces.clear();
            let taken = self
                .queue
                .take(|ram, chain| (chain.head_index(), buffers::collect(ram, chain, false, pieces)))?;
            let Some((head, bytes)) = taken else {
                if self.queue.ask_for_notifications()? {
                    self.queue.refuse_notifications()?;
                    continue;
                }
                return Ok(Turn::Over);
            };
            match self.send(tap, bytes, counters) {
                Sent::Frame(header) => {
                    let bytes = bytes.unwrap_or_default().saturating_sub(HEADER_BYTES);
                    limiter.passed(bytes, header.packets);
                    counters.transmitted_frames.add(1);
                    counters.transmitted_bytes.add(bytes as u64);
                    passed += bytes;
                }
                Sent::Dropped => {}
                Sent::Blocked => {
                    self.queue.put_back();
                    self.blocked = true;
                    counters.transmit_stalled.add(1);
                    return Ok(Turn::Over);
                }
            }
            self.queue.add_used(head, 0)?;
        }
        Ok(Turn::More)
    }

    /// Sends the frame in `pieces`, which holds so many bytes if it is one.
    fn send(&mut self, tap: &File, bytes: Option<usize>, counters: &NetCounters) -> Sent {
        let sizes = HEADER_BYTES + MIN_FRAME_BYTES..=HEADER_BYTES + MAX_FRAME_BYTES;
        let mut start = [0; CHECKED_BYTES];
        self.vectors.clear_for_write();
        let ram = self.queue.ram();
        let read = bytes.filter(|bytes| sizes.contains(bytes)).and_then(|bytes| {
            let start = start.get_mut(..bytes.min(CHECKED_BYTES))?;
            buffers::copy_out(ram, &self.pieces, start)?;
            self.vectors.add_pieces(ram, &self.pieces, start.len())?;
            Some((&*start, bytes - HEADER_BYTES))
        });
        let Some((start, frame_bytes)) = read else {
            counters.transmit_malformed.add(1);
            return Sent::Dropped;
        };
        let header = match Header::check(start, frame_bytes, self.features) {
            Ok(header) => header,
            Err(error) => {
                log::warn!("virtio-net: not sent: {error}");
                counters.transmit_bad_header.add(1);
                return Sent::Dropped;
            }
        };
        loop {
            match self.vectors.write(tap, header.as_bytes()) {
                Ok(_) => return Sent::Frame(header),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::Blocked,
                Err(error) => {
                    log::warn!("virtio-net: the host does not take a frame: {error}");
                    counters.transmit_refused.add(1);
                    return Sent::Dropped;
                }
            }
        }
    }
}

/// What came of a chain.
enum Sent {
    Frame(Header),
    Dropped,
    Blocked,
}

//! Frames from the tap to the guest.
//!
//! Responsible for: reading frames straight into the guest's buffers, over as many as a frame takes, and waiting for more of them. Must
//! not know: the event loop, other queues. Follows the virtio specification 1.2, sections 5.1.6.3, "Setting Up Receive
//! Buffers", and 5.1.6.4, "Processing of Incoming Packets".

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::time::Instant;

use super::buffers::{self, MAX_PIECES, Piece, Vectors};
use super::counters::NetCounters;
use super::features::Features;
use super::header::{BUFFER_COUNT_OFFSET, HEADER_BYTES, MAX_FRAME_BYTES, packets_of};
use super::rate::Limiter;
use super::{BYTES_PER_TURN, FRAMES_PER_TURN, Turn};
use crate::virtio::queue::{ActiveQueue, QueueError};

/// What the first frames are expected to take: one of an Ethernet's usual MTU.
const USUAL_BYTES: usize = HEADER_BYTES + 1514;
/// A frame smaller than expected lowers the expectation by this part of the difference: it follows a change of traffic within a
/// hundred frames, and answers between large frames do not make it jump.
const EXPECTATION_DECAY: usize = 32;
/// Frames that are expected to be no larger than this are read into the device's own memory and copied from there: that costs less than
/// telling the kernel of several pieces of memory.
const COPIED_BYTES: usize = 256;

/// A chain of the guest's that nothing was received into yet.
#[derive(Debug, Clone, Copy)]
struct Buffer {
    head: u16,
    pieces: usize,
    bytes: usize,
}

/// A frame that was larger than the buffers at hand; what they could not take is in the device's own memory.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    bytes: usize,
    delivered: usize,
}

/// Whether there are buffers for so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    Enough,
    /// The guest has to add some.
    Empty,
    /// It cannot, or they are too small.
    TooSmall,
}

/// The receiving half of a pair of queues.
pub struct Receiver {
    queue: ActiveQueue,
    merges: bool,
    /// Taken from the queue, oldest first.
    buffers: VecDeque<Buffer>,
    /// Theirs, in the same order. At most two chains' worth.
    pieces: Vec<Piece>,
    capacity: usize,
    /// What the next frame probably takes: so much is handed to each read, because every piece costs a little.
    expected: usize,
    /// The device's own memory: takes small frames, and the end of a frame that is larger than expected.
    overflow: Box<[u8]>,
    waiting: Option<Waiting>,
    /// The tap may have something to read. Cleared when a read finds nothing.
    readable: bool,
    vectors: Vectors,
}

impl Receiver {
    /// A receiver for a driver that has just finished setting the queue up.
    pub fn new(queue: ActiveQueue, features: Features) -> Self {
        Receiver {
            queue,
            merges: features.merges_buffers(),
            buffers: VecDeque::new(),
            pieces: Vec::new(),
            capacity: 0,
            expected: USUAL_BYTES,
            // One byte more than any frame has, which tells a cut one.
            overflow: vec![0; HEADER_BYTES + MAX_FRAME_BYTES + 1].into(),
            waiting: None,
            readable: true,
            vectors: Vectors::default(),
        }
    }

    /// The tap may have something to read.
    pub fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Passes frames on until there is none, the guest has no room, the limit is reached, or others are to have their turn.
    pub fn turn(
        &mut self,
        tap: &File,
        limiter: &mut Limiter,
        counters: &NetCounters,
    ) -> Result<Turn, QueueError> {
        if !self.readable && self.waiting.is_none() {
            return Ok(Turn::Over);
        }
        let outcome = self.receive(tap, limiter, counters);
        self.queue.end_turn(outcome)
    }

    fn receive(
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
                counters.receive_throttled.add(1);
                return Ok(Turn::After(wait));
            }
            if self.waiting.is_none() {
                self.gather(self.expected, counters)?;
                // Fewer buffers than expected may do for a frame.
                if !self.buffers.is_empty() {
                    match self.read(tap, counters) {
                        Read::Frame => {}
                        Read::Again => continue,
                        Read::Nothing => {
                            self.readable = false;
                            return Ok(Turn::Over);
                        }
                    }
                }
            }
            let gathered = match self.waiting {
                Some(frame) => self.gather(frame.bytes, counters)?,
                None => Gathered::Empty,
            };
            match (gathered, self.waiting) {
                (Gathered::Enough, Some(frame)) => {
                    self.waiting = None;
                    passed += frame.bytes;
                    self.deliver(frame, limiter, counters)?;
                }
                (Gathered::TooSmall, Some(_)) => {
                    self.waiting = None;
                    counters.receive_oversized.add(1);
                }
                _ => {
                    if !self.queue.ask_for_notifications()? {
                        counters.receive_stalled.add(1);
                        return Ok(Turn::Over);
                    }
                    self.queue.refuse_notifications()?;
                }
            }
        }
        Ok(Turn::More)
    }

    /// Takes chains from the queue until they hold `wanted` bytes.
    fn gather(&mut self, wanted: usize, counters: &NetCounters) -> Result<Gathered, QueueError> {
        // Without merging, a frame gets one chain whatever its size.
        let wanted = if self.merges { wanted } else { wanted.min(1) };
        for _ in 0..=self.queue.size() {
            if self.capacity >= wanted {
                let fits = self.merges || self.waiting.is_none_or(|frame| frame.bytes <= self.capacity);
                return Ok(if fits { Gathered::Enough } else { Gathered::TooSmall });
            }
            let held = self.buffers.len();
            if held >= usize::from(self.queue.size()) || self.pieces.len() >= MAX_PIECES {
                return Ok(Gathered::TooSmall);
            }
            let pieces = &mut self.pieces;
            let before = pieces.len();
            let taken = self
                .queue
                .take(|ram, chain| (chain.head_index(), buffers::collect(ram, chain, true, pieces)))?;
            match taken {
                None => return Ok(Gathered::Empty),
                Some((head, Some(bytes))) if bytes >= HEADER_BYTES => {
                    self.buffers.push_back(Buffer { head, pieces: self.pieces.len() - before, bytes });
                    self.capacity = self.capacity.saturating_add(bytes);
                }
                Some((head, _)) => {
                    self.pieces.truncate(before);
                    counters.receive_malformed.add(1);
                    self.queue.add_used(head, 0)?;
                }
            }
        }
        Ok(Gathered::TooSmall)
    }

    /// Reads one frame: into the device's own memory if it is probably small, otherwise into the buffers at hand, and what is left of it into
    /// the device's own memory.
    fn read(&mut self, tap: &File, counters: &NetCounters) -> Read {
        let direct = if self.expected > COPIED_BYTES { self.capacity } else { 0 };
        match self.read_some(tap, direct > 0) {
            // A tap has no end; the socket that may stand in for one has.
            Ok(0) => Read::Nothing,
            Ok(bytes) if bytes < HEADER_BYTES => Read::Again,
            Ok(bytes) if bytes >= direct.saturating_add(self.overflow.len()) => {
                counters.receive_oversized.add(1);
                Read::Again
            }
            Ok(bytes) => {
                self.waiting = Some(Waiting { bytes, delivered: bytes.min(direct) });
                Read::Frame
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Read::Again,
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    log::warn!("virtio-net: cannot read from the tap: {error}");
                }
                Read::Nothing
            }
        }
    }

    fn read_some(&mut self, mut tap: &File, direct: bool) -> io::Result<usize> {
        if !direct {
            return tap.read(&mut self.overflow);
        }
        self.vectors.clear_for_read();
        if self.vectors.add_pieces(self.queue.ram(), &self.pieces, 0).is_none() {
            return Err(io::Error::other("memory that was checked is gone"));
        }
        self.vectors.read(tap, &mut self.overflow)
    }

    /// Hands a frame to the guest, for which there are buffers.
    fn deliver(
        &mut self,
        frame: Waiting,
        limiter: &mut Limiter,
        counters: &NetCounters,
    ) -> Result<(), QueueError> {
        let mut room = 0;
        let count = 1 + self
            .buffers
            .iter()
            .take_while(|buffer| {
                room += buffer.bytes;
                room < frame.bytes
            })
            .count();
        let ram = self.queue.ram();
        let merged = (count as u16).to_le_bytes();
        let own = self.overflow.get_mut(..frame.bytes - frame.delivered).unwrap_or_default();
        let written = if frame.delivered == 0 {
            if let Some(place) = own.get_mut(BUFFER_COUNT_OFFSET..BUFFER_COUNT_OFFSET + merged.len()) {
                place.copy_from_slice(&merged);
            }
            buffers::copy_in(ram, &self.pieces, 0, own)
        } else {
            buffers::copy_in(ram, &self.pieces, frame.delivered, own)
                .and_then(|()| buffers::copy_in(ram, &self.pieces, BUFFER_COUNT_OFFSET, &merged))
        };
        let packets = if limiter.limits() {
            let mut header = [0; HEADER_BYTES];
            let read = buffers::copy_out(ram, &self.pieces, &mut header);
            read.map_or(1, |()| packets_of(header, frame.bytes))
        } else {
            1
        };
        if written.is_none() {
            log::warn!("virtio-net: memory that was checked is gone");
        }

        let mut left = frame.bytes;
        let used = self.buffers.iter().take(count).map(|buffer| {
            let bytes = buffer.bytes.min(left);
            left -= bytes;
            (buffer.head, bytes as u32)
        });
        self.queue.add_used_together(used)?;
        let mut pieces = 0;
        for buffer in self.buffers.drain(..count.min(self.buffers.len())) {
            pieces += buffer.pieces;
            self.capacity -= buffer.bytes;
        }
        self.pieces.drain(..pieces.min(self.pieces.len()));

        let bytes = frame.bytes - HEADER_BYTES;
        limiter.passed(bytes, packets);
        counters.received_frames.add(1);
        counters.received_bytes.add(bytes as u64);
        self.expected = if frame.bytes > self.expected {
            frame.bytes
        } else {
            self.expected - (self.expected - frame.bytes) / EXPECTATION_DECAY
        };
        Ok(())
    }
}

/// What came of reading from the tap.
enum Read {
    /// A frame waits to be delivered.
    Frame,
    /// Something that is no frame for this guest, or a signal.
    Again,
    /// There is nothing.
    Nothing,
}

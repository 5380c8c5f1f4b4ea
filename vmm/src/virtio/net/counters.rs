//! What a network card counts.
//!
//! Responsible for: numbers that only grow, read while the machine runs. Must not know: who reads them. Follows the names of
//! Linux's interface statistics (Documentation/networking/statistics.rst), seen from the guest.

use std::ops::Deref;
use std::sync::Arc;

use crate::metrics::Counter;

/// The counters of a card, whoever keeps them.
pub type CardCounters = Arc<dyn Deref<Target = NetCounters> + Send + Sync>;

/// What a network card passed and did not pass. Stays zero where the host's kernel serves the queues.
#[derive(Debug, Default)]
pub struct NetCounters {
    /// Frames that the guest received; one that was not split into packets is one.
    pub received_frames: Counter,
    /// Bytes of them, without the header of the queue.
    pub received_bytes: Counter,
    /// Frames that no buffers of the guest can hold.
    pub receive_oversized: Counter,
    /// Buffers of the guest that nothing can be received into: not memory, not writable, or too many pieces.
    pub receive_malformed: Counter,
    /// Times that the guest had no buffers, or too few for a frame.
    pub receive_stalled: Counter,
    /// Times that frames had to wait for the limit of the rate.
    pub receive_throttled: Counter,
    /// Frames that the guest sent.
    pub transmitted_frames: Counter,
    /// Bytes of them, without the header of the queue.
    pub transmitted_bytes: Counter,
    /// Frames whose buffers are not memory, too many, too few bytes or too many.
    pub transmit_malformed: Counter,
    /// Frames whose header asks for what was not agreed on or does not fit the frame.
    pub transmit_bad_header: Counter,
    /// Frames that the host did not take.
    pub transmit_refused: Counter,
    /// Times that frames had to wait because the host's queue was full.
    pub transmit_stalled: Counter,
    /// Times that frames had to wait for the limit of the rate.
    pub transmit_throttled: Counter,
    /// Commands of the control queue that were refused.
    pub control_refused: Counter,
}

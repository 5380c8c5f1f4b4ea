//! The header in front of every frame.
//!
//! Responsible for: which headers of a driver the host's kernel gets to see. Must not know: queues, how frames travel. Follows the
//! virtio specification 1.2, section 5.1.6, "Device Operation".

use super::checksum::{self, Packet, Version};
use super::features::Features;

/// Bytes of a header in virtio 1.
pub const HEADER_BYTES: usize = 12;
/// Where a header says over how many buffers a received frame is spread; two bytes, the last ones.
pub const BUFFER_COUNT_OFFSET: usize = 10;
/// Bytes that are checked of a header and the frame behind it, and sent as they were checked.
pub const CHECKED_BYTES: usize = HEADER_BYTES + checksum::START_BYTES;
/// Addresses and type: what every frame has.
pub const MIN_FRAME_BYTES: usize = 14;
/// The largest frame: an IP packet of 64 KiB behind its Ethernet header (5.1.6.3.1, "65550 bytes"), and a VLAN tag.
pub const MAX_FRAME_BYTES: usize = 65_550 + 4;

const FLAG_NEEDS_CHECKSUM: u8 = 1;
const SEGMENT_NONE: u8 = 0;
const SEGMENT_TCP4: u8 = 1;
const SEGMENT_TCP6: u8 = 4;
const SEGMENT_UDP: u8 = 5;
const SEGMENT_ECN: u8 = 0x80;
/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 2;

/// Why a frame of the guest's is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is no Ethernet header, or more than the largest packet.
    #[error("a frame of {0} bytes")]
    FrameSize(usize),
    /// A feature was used that was not agreed on.
    #[error("an offload that was not agreed on (flags {flags:#x}, type {segments:#x})")]
    NotAgreed {
        /// As found.
        flags: u8,
        /// As found.
        segments: u8,
    },
    /// Parts of size zero, or parts without checksums.
    #[error("a frame that cannot be split into parts of {0} bytes")]
    Segments(u16),
    /// It names bytes that the frame does not have.
    #[error("headers or a checksum beyond the end of a frame of {0} bytes")]
    BeyondFrame(usize),
    /// What would be written there is no checksum.
    #[error(
        "a checksum from byte {start} on, {offset} bytes behind it, where the frame has none of its kind"
    )]
    NoChecksum {
        /// Over everything from there on.
        start: usize,
        /// From there to its place.
        offset: usize,
    },
}

/// A checked header of a frame that the guest sends, and the frame's start as it was when it was checked: the guest could change
/// its own any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; CHECKED_BYTES],
    length: usize,
    /// Packets that the frame is on the wire.
    pub packets: u64,
}

impl Header {
    /// Checks the header of a frame of `frame_bytes`. `start` is the header and what follows it, [`CHECKED_BYTES`] of both or all that
    /// there is.
    pub fn check(start: &[u8], frame_bytes: usize, features: Features) -> Result<Self, HeaderError> {
        let Some((header, frame)) = start.split_first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::FrameSize(0));
        };
        let [flags, segments, h0, h1, s0, s1, c0, c1, o0, o1, _, _] = *header;
        if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame_bytes) {
            return Err(HeaderError::FrameSize(frame_bytes));
        }
        let headers = u16::from_le_bytes([h0, h1]);
        let segment = u16::from_le_bytes([s0, s1]);
        let checksum_start = usize::from(u16::from_le_bytes([c0, c1]));
        let checksum_offset = usize::from(u16::from_le_bytes([o0, o1]));
        // Flags that this end does not know are none (5.1.6.2.2).
        let needs_checksum = flags & FLAG_NEEDS_CHECKSUM != 0;
        let agreed = (!needs_checksum || features.host_checksums()) && may_split(segments, features);
        if !agreed {
            return Err(HeaderError::NotAgreed { flags, segments });
        }
        if usize::from(headers) > frame_bytes {
            return Err(HeaderError::BeyondFrame(frame_bytes));
        }
        let checksum_end = checksum_start + checksum_offset + CHECKSUM_BYTES;
        if needs_checksum && checksum_end > frame_bytes {
            return Err(HeaderError::BeyondFrame(frame_bytes));
        }
        let split = segments & !SEGMENT_ECN != SEGMENT_NONE;
        if split && (segment == 0 || !needs_checksum) {
            return Err(HeaderError::Segments(segment));
        }
        if needs_checksum && !has_checksum(frame, segments, checksum_start, checksum_offset) {
            return Err(HeaderError::NoChecksum { start: checksum_start, offset: checksum_offset });
        }
        let packets = if split {
            let payload = frame_bytes.saturating_sub(usize::from(headers));
            payload.div_ceil(usize::from(segment).max(1)).max(1) as u64
        } else {
            1
        };
        let kept = flags & FLAG_NEEDS_CHECKSUM;
        let header = [kept, segments, h0, h1, s0, s1, c0, c1, o0, o1, 0, 0];
        let mut bytes = [0; CHECKED_BYTES];
        let places = bytes.iter_mut().zip(header.iter().chain(frame));
        let length = places.map(|(place, byte)| *place = *byte).count();
        Ok(Self { bytes, length, packets })
    }

    /// What the host's kernel gets instead of as many bytes of the guest's.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Whether there is a checksum in a frame that begins like this, and, if the frame is to be split, one of the kind that it is split by.
fn has_checksum(frame: &[u8], segments: u8, start: usize, offset: usize) -> bool {
    Packet::of(frame).is_some_and(|packet| match segments & !SEGMENT_ECN {
        SEGMENT_TCP4 => packet.version == Version::V4 && packet.is_tcp_checksum(start, offset),
        SEGMENT_TCP6 => packet.version == Version::V6 && packet.is_tcp_checksum(start, offset),
        SEGMENT_UDP => packet.is_udp_checksum(start, offset),
        _ => packet.may_have_checksum(start, offset),
    })
}

fn may_split(segments: u8, features: Features) -> bool {
    match segments {
        SEGMENT_NONE => true,
        SEGMENT_UDP => features.host_splits_udp(),
        _ => match segments & !SEGMENT_ECN {
            SEGMENT_TCP4 => features.host_splits_tcp4(segments & SEGMENT_ECN != 0),
            SEGMENT_TCP6 => features.host_splits_tcp6(segments & SEGMENT_ECN != 0),
            _ => false,
        },
    }
}

/// Packets that a received frame is on the wire, by the header that the host's kernel made.
pub fn packets_of(header: [u8; HEADER_BYTES], frame_bytes: usize) -> u64 {
    let [_, segments, h0, h1, s0, s1, ..] = header;
    let segment = usize::from(u16::from_le_bytes([s0, s1]));
    if segments == SEGMENT_NONE || segment == 0 {
        return 1;
    }
    let payload = frame_bytes.saturating_sub(usize::from(u16::from_le_bytes([h0, h1])));
    payload.div_ceil(segment).max(1) as u64
}

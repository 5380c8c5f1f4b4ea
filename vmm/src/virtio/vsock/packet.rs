//! Packets of the socket device, as headers and payloads.
//!
//! Responsible for: getting a packet out of a transmit chain and into a receive chain. Must not know: connections.
//! Follows the virtio specification 1.2, section 5.10.6, with the virtio-vsock crate for the layouts that drivers use.

use virtio_vsock::packet::{PKT_HEADER_SIZE, VsockPacket};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryError, VolatileSlice};

use crate::memory::GuestRam;
use crate::virtio::queue::Chain;

/// The host's context ID.
pub const HOST_CID: u64 = 2;
/// The only socket type offered.
pub const TYPE_STREAM: u16 = 1;

/// The sender will not receive any more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// The sender will not send any more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Both.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// Longest payload taken from a guest, as the specification's drivers send.
pub const MAX_PAYLOAD_BYTES: u32 = 64 * 1024;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Grants it.
    Response = 2,
    /// Refuses it, or ends it at once.
    Reset = 3,
    /// Ends one or both directions.
    Shutdown = 4,
    /// Carries data.
    Data = 5,
    /// Tells how much buffer is free.
    CreditUpdate = 6,
    /// Asks to be told so.
    CreditRequest = 7,
}

impl Op {
    fn parse(value: u16) -> Option<Op> {
        use Op::*;
        [Request, Response, Reset, Shutdown, Data, CreditUpdate, CreditRequest]
            .into_iter()
            .find(|op| *op as u16 == value)
    }
}

/// A packet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Context ID of the sender.
    pub src_cid: u64,
    /// Context ID of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Socket type.
    pub kind: u16,
    /// What the packet is for; `None` for what the specification does not know.
    pub op: Option<Op>,
    /// Depends on `op`.
    pub flags: u32,
    /// Receive buffer of the sender, in bytes.
    pub buf_alloc: u32,
    /// Bytes that the sender has taken out of its receive buffer so far, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// The header as it lies in memory.
    pub fn encode(&self) -> [u8; PKT_HEADER_SIZE] {
        let fields: [&[u8]; 10] = [
            &self.src_cid.to_le_bytes(),
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.op.map_or(0, |op| op as u16).to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.buf_alloc.to_le_bytes(),
            &self.fwd_cnt.to_le_bytes(),
        ];
        let mut bytes = [0; PKT_HEADER_SIZE];
        for (slot, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *byte;
        }
        bytes
    }

    /// The header from memory.
    pub fn decode(bytes: &[u8; PKT_HEADER_SIZE]) -> Header {
        let mut rest = &bytes[..];
        let mut take = |count: usize| {
            let (field, tail) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = tail;
            field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        Header {
            src_cid: take(8),
            dst_cid: take(8),
            src_port: take(4) as u32,
            dst_port: take(4) as u32,
            len: take(4) as u32,
            kind: take(2) as u16,
            op: Op::parse(take(2) as u16),
            flags: take(4) as u32,
            buf_alloc: take(4) as u32,
            fwd_cnt: take(4) as u32,
        }
    }
}

/// Data of a packet from the guest.
pub enum Payload<'a> {
    /// There is none.
    Empty,
    /// Still in guest memory, in one piece: the guest may change it while it is being sent, which is its own affair.
    Guest(VolatileSlice<'a, ()>),
    /// The same in several pieces: as Linux sends all that does not fit 32 KiB.
    Scattered(Vec<VolatileSlice<'a, ()>>),
}

impl<'a> Payload<'a> {
    /// The data, piece by piece.
    pub fn slices(&self) -> &[VolatileSlice<'a, ()>] {
        match self {
            Payload::Empty => &[],
            Payload::Guest(slice) => std::slice::from_ref(slice),
            Payload::Scattered(slices) => slices,
        }
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        match self {
            Payload::Empty => 0,
            Payload::Guest(slice) => slice.len(),
            Payload::Scattered(slices) => slices.iter().map(|slice| slice.len()).sum(),
        }
    }
}

/// Why a chain holds no packet.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The layout is not one the specification allows.
    #[error("malformed packet")]
    Layout(#[source] virtio_vsock::packet::Error),
    /// Buffers are too short for header and payload, or not in RAM.
    #[error("truncated packet")]
    Truncated,
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`].
    #[error("packet with {0} bytes of payload")]
    TooLong(u32),
    /// Guest memory cannot be read.
    #[error("packet outside of guest memory")]
    Memory(#[source] GuestMemoryError),
}

/// Reads the packet of a transmit chain.
pub fn read<'a>(ram: &'a GuestRam, chain: Chain<'a>) -> Result<(Header, Payload<'a>), PacketError> {
    let scattered = chain.clone();
    let mut chain = chain;
    match VsockPacket::from_tx_virtq_chain(ram, &mut chain, MAX_PAYLOAD_BYTES) {
        Ok(packet) => {
            let header = Header {
                src_cid: packet.src_cid(),
                dst_cid: packet.dst_cid(),
                src_port: packet.src_port(),
                dst_port: packet.dst_port(),
                len: packet.len(),
                kind: packet.type_(),
                op: Op::parse(packet.op()),
                flags: packet.flags(),
                buf_alloc: packet.buf_alloc(),
                fwd_cnt: packet.fwd_cnt(),
            };
            Ok((header, packet.data_slice().map_or(Payload::Empty, |slice| Payload::Guest(*slice))))
        }
        Err(_) => read_scattered(ram, scattered),
    }
}

/// Reads a packet whose header and payload lie in any number of buffers.
fn read_scattered<'a>(ram: &'a GuestRam, chain: Chain<'a>) -> Result<(Header, Payload<'a>), PacketError> {
    let mut bytes = [0; PKT_HEADER_SIZE];
    let mut known = 0;
    let mut slices = Vec::new();
    let mut header: Option<Header> = None;
    let mut left = 0;
    for buffer in chain.readable() {
        let mut address = buffer.addr();
        let mut length = buffer.len() as usize;
        if header.is_none() {
            let part = length.min(PKT_HEADER_SIZE - known);
            let target = bytes.get_mut(known..known + part).unwrap_or_default();
            ram.read_slice(target, address).map_err(PacketError::Memory)?;
            address.0 = address.0.checked_add(part as u64).ok_or(PacketError::Truncated)?;
            (known, length) = (known + part, length - part);
            if known < PKT_HEADER_SIZE {
                continue;
            }
            let parsed = Header::decode(&bytes);
            if parsed.len > MAX_PAYLOAD_BYTES {
                return Err(PacketError::TooLong(parsed.len));
            }
            left = parsed.len as usize;
            header = Some(parsed);
        }
        let part = length.min(left);
        for slice in GuestMemoryBackend::get_slices(ram, address, part) {
            slices.push(slice.map_err(PacketError::Memory)?);
        }
        left -= part;
        if left == 0 {
            break;
        }
    }
    let header = header.filter(|_| left == 0).ok_or(PacketError::Truncated)?;
    Ok((header, Payload::Scattered(slices)))
}

/// A receive chain that waits for a packet.
pub struct Slot<'a>(VsockPacket<'a, ()>);

impl<'a> Slot<'a> {
    /// Checks that a packet fits.
    pub fn new(ram: &'a GuestRam, mut chain: Chain<'a>) -> Result<Self, PacketError> {
        // Nothing is allocated for the buffer, so its size is the driver's business.
        VsockPacket::from_rx_virtq_chain(ram, &mut chain, u32::MAX).map(Slot).map_err(PacketError::Layout)
    }

    /// Where data goes.
    pub fn payload(&mut self) -> Option<VolatileSlice<'a, ()>> {
        self.0.data_slice().copied()
    }

    /// Writes the header and returns the length of the packet.
    pub fn finish(mut self, header: &Header) -> u32 {
        match self.0.set_header_from_raw(&header.encode()) {
            Ok(()) => PKT_HEADER_SIZE as u32 + header.len,
            Err(error) => {
                log::warn!("virtio-vsock: {error}");
                0
            }
        }
    }
}

//! The control queue.
//!
//! Responsible for: reading a command and writing its answer. Must not know: how it is carried out. Follows the virtio specification
//! 1.2, section 5.1.6.5, "Control Virtqueue".

use vm_memory::Bytes;

use super::buffers::{self, MAX_PIECES, Piece};
use crate::memory::GuestRam;
use crate::virtio::queue::Chain;

const CLASS_QUEUES: u8 = 4;
const QUEUES_SET: u8 = 0;
const CLASS_OFFLOADS: u8 = 5;
const OFFLOADS_SET: u8 = 0;

/// `VIRTIO_NET_OK`.
const ACCEPTED: u8 = 0;
/// `VIRTIO_NET_ERR`.
const REFUSED: u8 = 1;

/// Class, command and the longest argument.
const MAX_COMMAND_BYTES: usize = 10;

/// What the driver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// This many pairs of queues shall be used.
    QueuePairs(u16),
    /// Received frames may have these offloads.
    GuestOffloads(u64),
}

/// Understands a command; `None` if this device has no such.
pub fn parse(bytes: &[u8]) -> Option<Command> {
    match bytes {
        [CLASS_QUEUES, QUEUES_SET, pairs @ ..] => {
            pairs.try_into().ok().map(u16::from_le_bytes).map(Command::QueuePairs)
        }
        [CLASS_OFFLOADS, OFFLOADS_SET, offloads @ ..] => {
            offloads.try_into().ok().map(u64::from_le_bytes).map(Command::GuestOffloads)
        }
        _ => None,
    }
}

/// Reads the command in `chain`, has it carried out, and answers. Returns the number of bytes written and whether the command was
/// accepted.
pub fn serve(ram: &GuestRam, chain: Chain, carry_out: impl FnOnce(Command) -> bool) -> (u32, bool) {
    let (mut readable, mut writable) = (Vec::new(), None);
    for descriptor in chain.take(MAX_PIECES).filter(|descriptor| descriptor.len() > 0) {
        if descriptor.is_write_only() {
            writable = writable.or(Some(descriptor.addr()));
        } else {
            readable.push(Piece { address: descriptor.addr(), bytes: descriptor.len() as usize });
        }
    }
    let Some(answer) = writable else { return (0, false) };
    let total: usize = readable.iter().map(|piece| piece.bytes).sum();
    let mut command = [0; MAX_COMMAND_BYTES];
    let command = command.get_mut(..total).and_then(|command| {
        buffers::copy_out(ram, &readable, command)?;
        parse(command)
    });
    let accepted = command.is_some_and(carry_out);
    let answered = ram.write_obj(if accepted { ACCEPTED } else { REFUSED }, answer);
    (u32::from(answered.is_ok()), accepted)
}

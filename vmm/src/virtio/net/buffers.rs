//! Buffers of the guest as system calls take them.
//!
//! Responsible for: where in memory a chain's bytes are, within bounds that the guest does not set, and moving frames there and from there
//! without another copy. Must not know: what a frame is for. Follows the virtio specification 1.2, section 2.7.4, "Message
//! Framing": a device assumes nothing about how a driver cuts its buffers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend};

use crate::memory::GuestRam;
use crate::virtio::queue::Chain;

/// Pieces that one chain may consist of. Linux uses at most 19 (`MAX_SKB_FRAGS` and the header); a system call takes 1024.
pub const MAX_PIECES: usize = 256;

/// A part of guest memory without a gap. It was in memory when it was found, and memory does not go while the device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts.
    pub address: GuestAddress,
    /// Its length, not zero.
    pub bytes: usize,
}

/// Adds the pieces of `chain` to `pieces`, those that the device may write or those that it may read. Returns how many bytes they
/// hold; `None` if one is not memory, or there are too many, and then adds nothing.
pub fn collect(ram: &GuestRam, chain: Chain, writable: bool, pieces: &mut Vec<Piece>) -> Option<usize> {
    let before = pieces.len();
    let mut total = 0usize;
    // A chain of empty pieces is as long as one of full ones.
    for (count, descriptor) in chain.enumerate() {
        let bytes = descriptor.len() as usize;
        let usable = count < MAX_PIECES
            && descriptor.is_write_only() == writable
            && (bytes == 0 || ram.check_range(descriptor.addr(), bytes));
        if !usable {
            pieces.truncate(before);
            return None;
        }
        if bytes > 0 {
            pieces.push(Piece { address: descriptor.addr(), bytes });
            total = total.saturating_add(bytes);
        }
    }
    Some(total)
}

/// Copies the first bytes of `pieces` out, as many as `target` takes.
pub fn copy_out(ram: &GuestRam, pieces: &[Piece], target: &mut [u8]) -> Option<()> {
    let mut rest = target;
    for piece in pieces {
        let (part, behind) = rest.split_at_mut_checked(piece.bytes.min(rest.len()))?;
        ram.read_slice(part, piece.address).ok()?;
        rest = behind;
    }
    rest.is_empty().then_some(())
}

/// Copies `source` into `pieces`, from byte `offset` of them on.
pub fn copy_in(ram: &GuestRam, pieces: &[Piece], mut offset: usize, source: &[u8]) -> Option<()> {
    let mut rest = source;
    for piece in pieces {
        if offset >= piece.bytes {
            offset -= piece.bytes;
            continue;
        }
        let (part, behind) = rest.split_at_checked((piece.bytes - offset).min(rest.len()))?;
        ram.write_slice(part, piece.address.checked_add(offset as u64)?).ok()?;
        (rest, offset) = (behind, 0);
        if rest.is_empty() {
            break;
        }
    }
    rest.is_empty().then_some(())
}

/// `struct iovec`, as numbers: it is kept between calls, and a pointer would tie its owner to a thread.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Vector {
    base: usize,
    bytes: usize,
}

/// The argument of one system call.
#[derive(Debug, Default)]
pub struct Vectors(Vec<Vector>);

impl Vectors {
    /// Forgets the last call's, before one that reads.
    pub fn clear_for_read(&mut self) {
        self.0.clear();
    }

    /// Adds guest memory, without its first `skipped` bytes. `None` if it is not memory.
    pub fn add_pieces(&mut self, ram: &GuestRam, pieces: &[Piece], mut skipped: usize) -> Option<()> {
        for piece in pieces {
            if skipped >= piece.bytes {
                skipped -= piece.bytes;
                continue;
            }
            let slice =
                ram.get_slice(piece.address.checked_add(skipped as u64)?, piece.bytes - skipped).ok()?;
            self.0.push(Vector { base: slice.ptr_guard().as_ptr().expose_provenance(), bytes: slice.len() });
            skipped = 0;
        }
        Some(())
    }

    /// Reads into `self` and then into `tail`.
    pub fn read(&mut self, from: &File, tail: &mut [u8]) -> io::Result<usize> {
        self.0.push(Vector { base: tail.as_mut_ptr().expose_provenance(), bytes: tail.len() });
        // SAFETY: each vector is a live mapping of guest memory, which no Rust reference covers, or `tail`; `Vector` is laid out as
        // `struct iovec`.
        let count =
            unsafe { libc::readv(from.as_raw_fd(), self.0.as_ptr().cast(), self.0.len() as libc::c_int) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Forgets the last call's, and keeps a place for what comes first.
    pub fn clear_for_write(&mut self) {
        self.0.clear();
        self.0.push(Vector { base: 0, bytes: 0 });
    }

    /// Writes `head` and then what was added since [`clear_for_write`](Self::clear_for_write).
    pub fn write(&mut self, to: &File, head: &[u8]) -> io::Result<usize> {
        if let Some(first) = self.0.first_mut() {
            *first = Vector { base: head.as_ptr().expose_provenance(), bytes: head.len() };
        }
        // SAFETY: each vector is a live mapping of guest memory, or `head`, and the kernel only reads; `Vector` is laid out as
        // `struct iovec`.
        let count =
            unsafe { libc::writev(to.as_raw_fd(), self.0.as_ptr().cast(), self.0.len() as libc::c_int) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}

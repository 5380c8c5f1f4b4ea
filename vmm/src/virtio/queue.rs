//! A virtqueue in use: chains in, used buffers out, notifications only when asked for.
//!
//! Responsible for: validating what the driver set up, and the order of steps that `VIRTIO_F_EVENT_IDX` needs. Must not
//! know: what chains contain. Follows the virtio specification 1.2, section 2.7, "Split Virtqueues".

use std::sync::Arc;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::device::{INTERRUPT_QUEUE, Interrupt};
use crate::memory::GuestRam;

/// A chain of buffers in guest memory.
pub type Chain<'a> = DescriptorChain<&'a GuestRam>;

/// What a driver wrote to the queue registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueSetup {
    /// Number of descriptors.
    pub size: u16,
    /// The driver finished setting the queue up.
    pub ready: bool,
    /// Guest address of the descriptor table.
    pub descriptors: u64,
    /// Guest address of the available ring.
    pub available: u64,
    /// Guest address of the used ring.
    pub used: u64,
}

/// Why a queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Size zero, not a power of two, or above the maximum; or a misaligned ring.
    #[error("the driver set up a queue with an invalid size or alignment")]
    Setup(#[source] virtio_queue::Error),
    /// A ring is not in RAM.
    #[error("the driver placed a queue outside of guest memory")]
    Placement,
    /// The driver broke the rings.
    #[error("the driver corrupted a queue")]
    Corrupt(#[source] virtio_queue::Error),
}

impl QueueSetup {
    /// The queue, if all of it lies in RAM; `None` if the driver left it out.
    pub fn build(&self, ram: &GuestRam, max_size: u16, event_idx: bool) -> Result<Option<Queue>, QueueError> {
        if !self.ready {
            return Ok(None);
        }
        let mut queue = Queue::new(max_size).map_err(QueueError::Setup)?;
        queue.try_set_size(self.size).map_err(QueueError::Setup)?;
        queue.try_set_desc_table_address(GuestAddress(self.descriptors)).map_err(QueueError::Setup)?;
        queue.try_set_avail_ring_address(GuestAddress(self.available)).map_err(QueueError::Setup)?;
        queue.try_set_used_ring_address(GuestAddress(self.used)).map_err(QueueError::Setup)?;
        let entries = usize::from(self.size);
        // Rings have a header of four bytes and an event index of two behind their entries.
        let parts = [
            (self.descriptors, 16 * entries),
            (self.available, 6 + 2 * entries),
            (self.used, 6 + 8 * entries),
        ];
        if parts.iter().any(|(start, bytes)| !ram.check_range(GuestAddress(*start), *bytes)) {
            return Err(QueueError::Placement);
        }
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        Ok(Some(queue))
    }
}

/// How far a queue was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Served {
    /// Nothing is left, or what is left cannot be served now; the driver notifies of more.
    Everything,
    /// There may be more, of which the driver does not notify: the queue is to be served again after other work.
    Part,
}

/// A queue that the driver has handed over.
pub struct ActiveQueue {
    queue: Queue,
    ram: GuestRam,
    interrupt: Arc<Interrupt>,
}

impl ActiveQueue {
    /// Takes over `queue`.
    pub fn new(queue: Queue, ram: GuestRam, interrupt: Arc<Interrupt>) -> Self {
        ActiveQueue { queue, ram, interrupt }
    }

    /// Hands available chains to `serve` until there is none left, `serve` returns `None`, which puts its chain back, or as
    /// many were served as the queue has entries: a driver that keeps adding chains must not keep the caller. `serve` returns the number of bytes it wrote. Notifies the driver once at the end if it wants to be. An error
    /// is the end of the queue, and the driver is told that the device needs a reset.
    pub fn serve<F>(&mut self, mut serve: F) -> Result<Served, QueueError>
    where
        F: FnMut(&GuestRam, Chain) -> Option<u32>,
    {
        let outcome = self.serve_one_turn(&mut serve);
        // Buffers that were used before an error are the driver's to take.
        let outcome = self.notify().and(outcome);
        if outcome.is_err() {
            self.interrupt.fail();
        }
        outcome
    }

    fn notify(&mut self) -> Result<(), QueueError> {
        if self.queue.needs_notification(&self.ram).map_err(QueueError::Corrupt)? {
            self.interrupt.raise(INTERRUPT_QUEUE);
        }
        Ok(())
    }

    fn serve_one_turn<F>(&mut self, serve: &mut F) -> Result<Served, QueueError>
    where
        F: FnMut(&GuestRam, Chain) -> Option<u32>,
    {
        let mut turn = self.queue.size();
        loop {
            self.queue.disable_notification(&self.ram).map_err(QueueError::Corrupt)?;
            while let Some(chain) = next(&mut self.queue, &self.ram)? {
                let Some(left) = turn.checked_sub(1) else {
                    self.queue.go_to_previous_position();
                    return Ok(Served::Part);
                };
                turn = left;
                let head = chain.head_index();
                match serve(&self.ram, chain) {
                    Some(written) => {
                        self.queue.add_used(&self.ram, head, written).map_err(QueueError::Corrupt)?;
                    }
                    None => {
                        self.queue.go_to_previous_position();
                        return Ok(Served::Everything);
                    }
                }
            }
            // A chain added after the last look and before this call would otherwise wait for the next notification.
            if !self.queue.enable_notification(&self.ram).map_err(QueueError::Corrupt)? {
                return Ok(Served::Everything);
            }
        }
    }
}

fn next<'a>(queue: &mut Queue, ram: &'a GuestRam) -> Result<Option<Chain<'a>>, QueueError> {
    Ok(queue.iter(ram).map_err(QueueError::Corrupt)?.next())
}

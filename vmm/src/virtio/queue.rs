//! A virtqueue in use: chains in, used buffers out, notifications only when asked for.
//!
//! Responsible for: validating what the driver set up, and the order of steps that `VIRTIO_F_EVENT_IDX` needs. Must not
//! know: what chains contain. Follows the virtio specification 1.2, section 2.7, "Split Virtqueues".

use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::device::{INTERRUPT_QUEUE, Interrupt};
use crate::memory::GuestRam;

/// In the flags of the available ring, where event indices were not agreed on: the driver looks by itself.
const AVAIL_NO_INTERRUPT: u16 = VRING_AVAIL_F_NO_INTERRUPT as u16;

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
    /// There was news in the queue, and then nothing was there: the rings lie over each other, or an index went back.
    #[error("the driver took back what it had put into a queue")]
    Vanished,
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
    /// How far the used ring was when the driver was last considered for a notification.
    considered: Wrapping<u16>,
}

impl ActiveQueue {
    /// Takes over `queue`.
    pub fn new(queue: Queue, ram: GuestRam, interrupt: Arc<Interrupt>) -> Self {
        let considered = Wrapping(queue.next_used());
        ActiveQueue { queue, ram, interrupt, considered }
    }

    /// Hands available chains to `serve` until there is none left, `serve` returns `None`, which puts its chain back, or as
    /// many were served as the queue has entries: a driver that keeps adding chains must not keep the caller. `serve` returns the number of bytes it wrote. Notifies the driver once at the end if it wants to be. An error
    /// is the end of the queue, and the driver is told that the device needs a reset.
    pub fn serve<F>(&mut self, mut serve: F) -> Result<Served, QueueError>
    where
        F: FnMut(&GuestRam, Chain) -> Option<u32>,
    {
        let outcome = self.serve_one_turn(&mut serve);
        self.end_turn(outcome)
    }

    /// Ends what began with [`take`](Self::take): notifies the driver if it wants to be, and, after an error, tells it that the device needs a
    /// reset.
    pub fn end_turn<T>(&mut self, outcome: Result<T, QueueError>) -> Result<T, QueueError> {
        // Buffers that were used before an error are the driver's to take.
        let outcome = self.notify().and(outcome);
        if outcome.is_err() {
            self.interrupt.fail();
        }
        outcome
    }

    fn notify(&mut self) -> Result<(), QueueError> {
        let used = Wrapping(self.queue.next_used());
        let news = used - self.considered;
        self.considered = used;
        if news.0 == 0 {
            return Ok(());
        }
        // The driver sees what was used before this end looks whether it wants to hear of it.
        fence(Ordering::SeqCst);
        let wanted = if self.queue.event_idx_enabled() {
            // As in Linux's vring_need_event: whether the index that the driver waits for is among the news.
            let event = Wrapping(self.load(self.queue.avail_ring() + 4 + 2 * u64::from(self.queue.size()))?);
            used - event - Wrapping(1) < news
        } else {
            self.load(self.queue.avail_ring())? & AVAIL_NO_INTERRUPT == 0
        };
        if wanted {
            self.interrupt.raise(INTERRUPT_QUEUE);
        }
        Ok(())
    }

    fn load(&self, address: u64) -> Result<u16, QueueError> {
        self.ram
            .load(GuestAddress(address), Ordering::Relaxed)
            .map(u16::from_le)
            .map_err(|_| QueueError::Placement)
    }

    fn serve_one_turn<F>(&mut self, serve: &mut F) -> Result<Served, QueueError>
    where
        F: FnMut(&GuestRam, Chain) -> Option<u32>,
    {
        let mut turn = self.queue.size();
        let mut promised = false;
        loop {
            self.refuse_notifications()?;
            let before = turn;
            while let Some(chain) = next(&mut self.queue, &self.ram)? {
                let Some(left) = turn.checked_sub(1) else {
                    self.put_back();
                    return Ok(Served::Part);
                };
                turn = left;
                let head = chain.head_index();
                match serve(&self.ram, chain) {
                    Some(written) => self.add_used(head, written)?,
                    None => {
                        self.put_back();
                        return Ok(Served::Everything);
                    }
                }
            }
            // Looking for it once more could go on for ever.
            if promised && turn == before {
                return Err(QueueError::Vanished);
            }
            promised = self.ask_for_notifications()?;
            if !promised {
                return Ok(Served::Everything);
            }
        }
    }

    /// The guest's memory.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next available chain, of which `read` says what is in it; the chain is the device's until
    /// [`add_used`](Self::add_used) or [`put_back`](Self::put_back).
    pub fn take<T>(&mut self, read: impl FnOnce(&GuestRam, Chain) -> T) -> Result<Option<T>, QueueError> {
        Ok(next(&mut self.queue, &self.ram)?.map(|chain| read(&self.ram, chain)))
    }

    /// Undoes the last [`take`](Self::take).
    pub fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a chain back to the driver with `written` bytes in it.
    pub fn add_used(&mut self, head: u16, written: u32) -> Result<(), QueueError> {
        self.queue.add_used(&self.ram, head, written).map_err(QueueError::Corrupt)
    }

    /// Gives several chains back that the driver must find together, as heads and bytes written.
    pub fn add_used_together(
        &mut self,
        chains: impl ExactSizeIterator<Item = (u16, u32)>,
    ) -> Result<(), QueueError> {
        let first = Wrapping(self.queue.next_used());
        let last = chains.len().saturating_sub(1) as u16;
        for (index, (head, written)) in (0u16..).zip(chains) {
            let position = first + Wrapping(index);
            if index == last {
                // The index that makes all of them visible is written behind this one.
                self.queue.set_next_used(position.0);
                return self.add_used(head, written);
            }
            let entry = u64::from(position.0 % self.queue.size().max(1));
            let element = [u32::from(head).to_le(), written.to_le()];
            self.ram
                .write_obj(element, GuestAddress(self.queue.used_ring() + 4 + 8 * entry))
                .map_err(|_| QueueError::Placement)?;
        }
        Ok(())
    }

    /// Asks the driver to notify of further chains. Whether there are some already, of which it does not.
    pub fn ask_for_notifications(&mut self) -> Result<bool, QueueError> {
        self.queue.enable_notification(&self.ram).map_err(QueueError::Corrupt)
    }

    /// Tells the driver that chains are looked for without notifications.
    pub fn refuse_notifications(&mut self) -> Result<(), QueueError> {
        self.queue.disable_notification(&self.ram).map_err(QueueError::Corrupt)
    }
}

fn next<'a>(queue: &mut Queue, ram: &'a GuestRam) -> Result<Option<Chain<'a>>, QueueError> {
    Ok(queue.iter(ram).map_err(QueueError::Corrupt)?.next())
}

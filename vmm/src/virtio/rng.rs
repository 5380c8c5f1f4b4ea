//! The entropy device.
//!
//! Responsible for: filling the guest's buffers with the host's randomness. Must not know: what it is used for. Follows
//! the virtio specification 1.2, section 5.4.

use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use super::device::{ActivateError, Activation, FEATURES_COMMON, VirtioDevice, serve_again};
use super::queue::{ActiveQueue, Chain, Served};
use crate::memory::GuestRam;

/// One request at a time is what Linux makes.
const QUEUE_SIZES: [u16; 1] = [16];
/// Most bytes of one request that are filled; more would let a guest keep the event loop busy at no cost of its own.
const MAX_REQUEST_BYTES: u32 = 64 * 1024;
/// `getrandom` fills up to this many bytes without being interruptible.
const CHUNK_BYTES: usize = 256;

/// The entropy device.
#[derive(Default)]
pub struct Rng {
    queue: Option<(ActiveQueue, Arc<[EventFd]>)>,
}

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        FEATURES_COMMON
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let queue = activation.queues.into_iter().flatten().next().ok_or("the driver set up no queue")?;
        let queue = ActiveQueue::new(queue, activation.ram, activation.interrupt);
        self.queue = Some((queue, activation.kicks));
        Ok(())
    }

    fn reset(&mut self) {
        self.queue = None;
    }

    fn notified(&mut self, index: usize) {
        let Some((queue, kicks)) = &mut self.queue else { return };
        match queue.serve(|ram, chain| Some(fill(ram, chain))) {
            Ok(Served::Everything) => {}
            Ok(Served::Part) => serve_again(kicks, index),
            Err(error) => {
                log::warn!("virtio-rng: {error}");
                self.queue = None;
            }
        }
    }
}

/// Fills the writable buffers of a chain and returns how many bytes of it are random.
fn fill(ram: &GuestRam, chain: Chain) -> u32 {
    let mut filled = 0;
    for buffer in chain.writable() {
        let length = buffer.len().min(MAX_REQUEST_BYTES - filled);
        if let Err(error) = fill_buffer(ram, buffer.addr(), length) {
            log::warn!("virtio-rng: {error}");
            break;
        }
        filled += length;
        if filled == MAX_REQUEST_BYTES {
            break;
        }
    }
    filled
}

fn fill_buffer(ram: &GuestRam, start: GuestAddress, length: u32) -> Result<(), ActivateError> {
    let mut chunk = [0; CHUNK_BYTES];
    let mut done = 0;
    while done < u64::from(length) {
        let address =
            GuestAddress(start.0.checked_add(done).ok_or("a buffer wraps around the address space")?);
        let wanted = chunk.len().min((u64::from(length) - done) as usize);
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        let random = rustix::rand::getrandom(&mut *part, rustix::rand::GetRandomFlags::empty())?;
        let bytes = part.get(..random).unwrap_or_default();
        ram.write_slice(bytes, address)?;
        done += random as u64;
    }
    Ok(())
}

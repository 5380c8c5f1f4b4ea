//! The balloon device, of which only one thing is used: the guest tells which of its memory is free.
//!
//! Responsible for: giving reported memory back to the host. Must not know: why it is free, or how full the host is: nothing
//! is ever taken from a guest that needs it. Follows the virtio specification 1.2, section 5.5, "Free Page Reporting",
//! and Linux's mm/page_reporting.c.

use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vmm_sys_util::eventfd::EventFd;

use super::device::{ActivateError, Activation, FEATURES_COMMON, VirtioDevice, serve_again};
use super::queue::{ActiveQueue, Chain, Served};
use crate::memory::{self, GuestRam};

/// The queues to take and give back pages, which every balloon has and this one never uses; then that of reports, which Linux
/// fills with [`MAX_RANGES`] ranges at a time.
const QUEUE_SIZES: [u16; 3] = [16, 16, MAX_RANGES as u16];
/// Number of the last one. The specification counts the queues of features that were not offered, too; Linux, which has this one
/// to itself for now, does not (drivers/virtio/virtio_mmio.c).
const REPORTING_QUEUE: usize = 2;
/// `VIRTIO_BALLOON_F_REPORTING`: virtio-bindings does not have it.
const FEATURE_REPORTING: u64 = 1 << 5;
/// `num_pages` and `actual`: the balloon is empty and shall be.
const CONFIG: [u8; 8] = [0; 8];
/// `PAGE_REPORTING_CAPACITY`. What a report holds beyond it stays: each range is a request to the host's kernel, and one report
/// must not hold the other devices up for longer than that.
const MAX_RANGES: usize = 32;

/// The balloon device.
#[derive(Default)]
pub struct Balloon {
    /// As the driver set them up.
    queues: Vec<Option<ActiveQueue>>,
    kicks: Option<Arc<[EventFd]>>,
}

impl VirtioDevice for Balloon {
    fn id(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        FEATURES_COMMON | FEATURE_REPORTING
    }

    fn config(&self) -> &[u8] {
        &CONFIG
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { ram, queues, interrupt, kicks, .. } = activation;
        let active = |queue| ActiveQueue::new(queue, ram.clone(), interrupt.clone());
        self.queues = queues.into_iter().map(|queue| queue.map(active)).collect();
        self.kicks = Some(kicks);
        Ok(())
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn notified(&mut self, index: usize) {
        let Some(slot) = self.queues.get_mut(index) else { return };
        let Some(queue) = slot else { return };
        let served = queue.serve(|ram, chain| {
            if index == REPORTING_QUEUE {
                release(ram, chain);
            }
            Some(0)
        });
        match served {
            Ok(Served::Everything) => {}
            Ok(Served::Part) => serve_again(self.kicks.as_deref().unwrap_or_default(), index),
            Err(error) => {
                log::warn!("virtio-balloon: {error}");
                *slot = None;
            }
        }
    }
}

/// Gives the ranges of one report back. A range that cannot be stays: the guest may use it again all the same.
fn release(ram: &GuestRam, chain: Chain) {
    for range in chain.writable().take(MAX_RANGES) {
        if let Err(error) = memory::release(ram, range.addr(), u64::from(range.len())) {
            log::warn!("virtio-balloon: {error}");
        }
    }
}

//! The small interface that every virtio device sits behind.
//!
//! Responsible for: what a transport and the event loop may ask of a device, and when. Must not know: registers, buses,
//! threads. Follows the virtio specification 1.2, chapter 2, "Basic Facilities of a Virtio Device".

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use crate::memory::GuestRam;

/// No legacy interface.
pub const FEATURE_VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
/// Notifications are suppressed by ring index rather than by flag.
pub const FEATURE_EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;
/// Descriptors may point at tables of descriptors.
pub const FEATURE_INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
/// What every device of this VMM offers.
pub const FEATURES_COMMON: u64 = FEATURE_VERSION_1 | FEATURE_EVENT_IDX | FEATURE_INDIRECT;

/// Bit of the interrupt status register: a queue has used buffers.
pub const INTERRUPT_QUEUE: u32 = 1;
/// Bit of the interrupt status register: the device status or configuration changed.
pub const INTERRUPT_CONFIG: u32 = 2;

/// The interrupt of one device.
#[derive(Debug)]
pub struct Interrupt {
    /// Connected to the device's pin by KVM.
    event: EventFd,
    status: AtomicU32,
    failed: AtomicBool,
}

impl Interrupt {
    /// An interrupt that signals `event`.
    pub fn new(event: EventFd) -> Self {
        Interrupt { event, status: AtomicU32::new(0), failed: AtomicBool::new(false) }
    }

    /// Raises the interrupt for one of the `INTERRUPT_` reasons.
    pub fn raise(&self, reason: u32) {
        // The driver ignores an interrupt whose status reads zero, so the status comes first.
        self.status.fetch_or(reason, Ordering::SeqCst);
        if let Err(error) = self.event.write(1) {
            log::warn!("virtio: cannot raise an interrupt: {error}");
        }
    }

    /// Tells the driver that the device does nothing more before it is reset (virtio 1.2, 2.1.2, `DEVICE_NEEDS_RESET`): a
    /// driver would otherwise wait for ever for what it has asked.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.raise(INTERRUPT_CONFIG);
    }

    /// Whether the device needs a reset.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// As new, for a device that was reset.
    pub fn reset(&self) {
        self.failed.store(false, Ordering::SeqCst);
        self.acknowledge(u32::MAX);
    }

    /// Reasons raised and not yet acknowledged.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// Clears reasons.
    pub fn acknowledge(&self, reasons: u32) {
        self.status.fetch_and(!reasons, Ordering::SeqCst);
    }

    /// What KVM listens to.
    pub fn event(&self) -> &EventFd {
        &self.event
    }
}

/// What a device receives when the driver has finished setting it up.
pub struct Activation {
    /// The guest's memory.
    pub ram: GuestRam,
    /// One per entry of [`VirtioDevice::queue_sizes`], validated; `None` where the driver left a queue out.
    pub queues: Vec<Option<Queue>>,
    /// The features that the driver accepted, a subset of those offered.
    pub features: u64,
    /// The device's interrupt.
    pub interrupt: Arc<Interrupt>,
    /// Signalled when the driver notifies the queue of the same index.
    pub kicks: Arc<[EventFd]>,
}

/// Has queue `index` served again once other devices had their turn, as if the driver had notified it.
pub fn serve_again(kicks: &[EventFd], index: usize) {
    if let Some(Err(error)) = kicks.get(index).map(|kick| kick.write(1)) {
        log::warn!("virtio: cannot come back to a queue: {error}");
    }
}

/// Why a device refuses to start; the driver then finds "device needs reset" in the status.
pub type ActivateError = Box<dyn std::error::Error + Send + Sync>;

/// A descriptor of a device's host side, and when the device hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// As long as there is something to read.
    Readable(RawFd),
    /// When it becomes readable or writable: the device remembers that it is until it finds that it is not.
    Changed(RawFd),
}

/// A virtio device.
///
/// The transport calls from vCPU threads and the event loop from its own; a lock around the device makes it one call at a
/// time. Everything found in queues and configuration writes is the guest's, so it is bounded, checked, and copied before
/// it is looked at.
pub trait VirtioDevice: Send {
    /// Device ID (virtio 1.2, chapter 5).
    fn id(&self) -> u32;

    /// Largest size of each queue.
    fn queue_sizes(&self) -> &[u16];

    /// Features offered. Constant.
    fn features(&self) -> u64;

    /// The device's configuration space. Constant; reads beyond it give zero.
    fn config(&self) -> &[u8];

    /// The driver set `DRIVER_OK`. Called once after construction and after every [`reset`](Self::reset).
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Forgets everything the driver set up. When this returns, guest memory is no longer touched.
    fn reset(&mut self);

    /// Whether the status of the interrupt always says that a queue has used buffers. It has to where another process raises the interrupt,
    /// and it may where interrupts are many: the driver's acknowledgement, which changes nothing then, need not leave the kernel.
    fn status_is_constant(&self) -> bool {
        false
    }

    /// Whether the event loop has to call [`notified`](Self::notified) for queue `index`; a device passes the kicks of queues on that
    /// somebody else serves.
    fn wants_notifications(&self, _index: usize) -> bool {
        true
    }

    /// The driver notified queue `index`. May be called before [`activate`](Self::activate), then it means nothing.
    fn notified(&mut self, index: usize);

    /// Descriptors whose readiness the device wants to hear of through [`outside_event`](Self::outside_event). Constant.
    fn outside_descriptors(&self) -> Vec<Outside> {
        Vec::new()
    }

    /// The descriptor of this index among [`outside_descriptors`](Self::outside_descriptors) is ready.
    fn outside_event(&mut self, _index: usize) {}

    /// Whether nobody waits for what the device does now: it takes in a stream that its guest does not answer. More of that at a time, and
    /// later, is better then.
    fn is_unhurried(&self) -> bool {
        false
    }

    /// The machine has stopped: hand on what the guest sent before it did. No vCPU runs any more.
    fn finish(&mut self) {}
}

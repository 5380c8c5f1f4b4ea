//! A network card whose queues the host's kernel serves.
//!
//! Responsible for: telling vhost-net where memory, queues, notifications, interrupts and the tap are, and ending that. Must not know:
//! frames. Follows Linux's drivers/vhost/net.c and include/uapi/linux/vhost.h.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use ::vhost::vhost_kern::VhostKernBackend;
use ::vhost::vhost_kern::vhost_binding::{VHOST_NET_SET_BACKEND, vhost_vring_file};
use ::vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryBackend;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

use super::features::MRG_RXBUF;
use crate::Error;
use crate::memory::GuestRam;
use crate::virtio::device::{ActivateError, FEATURES_COMMON, Interrupt};

/// The queues of one pair, by which vhost-net numbers them.
const QUEUES: usize = 2;
/// What of a card's features concerns who serves its queues; the rest is between driver and tap.
const KERNEL_FEATURES: u64 = FEATURES_COMMON | MRG_RXBUF;

/// One vhost-net descriptor, with the memory of the machine.
struct Kernel {
    device: File,
    ram: Arc<GuestRam>,
}

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl VhostKernBackend for Kernel {
    type AS = Arc<GuestRam>;

    fn mem(&self) -> &Self::AS {
        &self.ram
    }
}

impl Kernel {
    fn open(device: &File, ram: GuestRam) -> Result<Self, std::io::Error> {
        Ok(Kernel { device: device.try_clone()?, ram: Arc::new(ram) })
    }

    fn set_backend(&self, queue: usize, tap: Option<&File>) -> std::io::Result<()> {
        let file = vhost_vring_file { index: queue as u32, fd: tap.map_or(-1, |tap| tap.as_raw_fd()) };
        // SAFETY: the kernel reads one structure.
        let result = unsafe { ioctl_with_ref(self, VHOST_NET_SET_BACKEND(), &file) };
        if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// What of the features `offered` this host's vhost-net can keep.
pub fn restrict(device: &File, offered: u64) -> Result<u64, Error> {
    let kernel = Kernel::open(device, GuestRam::default()).map_err(Error::os("duplicate /dev/vhost-net"))?;
    let known = kernel.get_features().map_err(|source| Error::Os {
        operation: "ask vhost-net for its features",
        source: std::io::Error::other(source),
    })?;
    Ok(offered & (known | !KERNEL_FEATURES))
}

/// A pair of queues that the host's kernel serves, until this is dropped.
pub struct Served(Kernel);

/// Has the host's kernel serve a pair of queues.
pub fn serve(
    device: &File,
    tap: &File,
    ram: &GuestRam,
    features: u64,
    queues: &[Option<Queue>],
    kicks: &[EventFd],
    interrupt: &Interrupt,
) -> Result<Served, ActivateError> {
    let kernel = Kernel::open(device, ram.clone())?;
    let served = Served(kernel);
    let kernel = &served.0;
    // Fails where a former activation has done it: the owner stays.
    if let Err(error) = kernel.set_owner() {
        log::debug!("virtio-net: {error}");
    }
    kernel.set_features(features & KERNEL_FEATURES)?;
    let memory: Vec<_> =
        ram.iter().map(VhostUserMemoryRegionInfo::from_guest_region).collect::<Result<_, _>>()?;
    kernel.set_mem_table(&memory)?;
    for (index, (queue, kick)) in queues.iter().zip(kicks).enumerate() {
        let Some(queue) = queue else { continue };
        kernel.set_vring_num(index, queue.size())?;
        kernel.set_vring_base(index, 0)?;
        kernel.set_vring_addr(
            index,
            &VringConfigData {
                queue_max_size: queue.max_size(),
                queue_size: queue.size(),
                flags: 0,
                desc_table_addr: queue.desc_table(),
                used_ring_addr: queue.used_ring(),
                avail_ring_addr: queue.avail_ring(),
                log_addr: None,
            },
        )?;
        kernel.set_vring_call(index, interrupt.event())?;
        kernel.set_vring_kick(index, kick)?;
        kernel.set_backend(index, Some(tap))?;
    }
    Ok(served)
}

impl Drop for Served {
    fn drop(&mut self) {
        for queue in 0..QUEUES {
            // Returns after the last access to guest memory.
            if let Err(error) = self.0.set_backend(queue, None) {
                log::warn!("virtio-net: vhost-net does not stop queue {queue}: {error}");
            }
        }
    }
}

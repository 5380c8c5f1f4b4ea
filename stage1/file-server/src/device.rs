//! The vhost-user side of the device: what the VMM may configure, and in which state the queues are.
//!
//! Responsible for: features, the memory table, ring addresses and states. Must not know: FUSE. Follows the
//! vhost-user protocol (qemu.org, interop/vhost-user), for the messages a virtio-fs front end sends.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error as VhostError, GpuBackend, Result as VhostResult, VhostUserBackendReqHandlerMut,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use virtiofsd::server::Server;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::ServeError;
use crate::numbers::NumberedFs;
use crate::ring::{Answers, Memory, Ring, RingError};

/// Queues of the device: one for high-priority requests (FORGET, INTERRUPT), one for all others (virtio 1.2, 5.11.2).
const QUEUES: [Answers; 2] = [Answers::Together, Answers::Each];

/// A stretch of guest memory in two address spaces.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    vmm_address: u64,
    guest_address: u64,
    size: u64,
}

pub(crate) struct FsDevice {
    server: Server<NumberedFs>,
    rings: Vec<Ring>,
    memory: Option<Arc<Memory>>,
    mappings: Vec<Mapping>,
    acknowledged_features: u64,
}

impl FsDevice {
    pub(crate) fn new(server: Server<NumberedFs>) -> Result<Self, virtio_queue::Error> {
        let rings = QUEUES.into_iter().map(Ring::new).collect::<Result<_, _>>()?;
        Ok(Self { server, rings, memory: None, mappings: Vec::new(), acknowledged_features: 0 })
    }

    /// Descriptors to wait for, each with the number of its queue. Shared, because a message may replace one while it
    /// is being waited for.
    pub(crate) fn kicks(&self) -> Vec<(usize, Arc<File>)> {
        let running = |(queue, ring): (usize, &Ring)| Some((queue, ring.running_kick()?));
        self.rings.iter().enumerate().filter_map(running).collect()
    }

    /// Answers everything in one queue.
    pub(crate) fn serve_queue(&mut self, queue: usize) -> Result<(), ServeError> {
        let failed = |cause| ServeError::Queue { queue, cause };
        let memory = self.memory.as_ref().ok_or(failed(RingError::NoMemory))?;
        match self.rings.get_mut(queue) {
            Some(ring) => ring.serve(memory, &self.server).map_err(failed),
            None => Ok(()),
        }
    }

    fn ring(&mut self, index: u32) -> VhostResult<&mut Ring> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.rings.get_mut(index))
            .ok_or(VhostError::InvalidParam)
    }

    fn guest_address(&self, vmm_address: u64) -> VhostResult<GuestAddress> {
        self.mappings
            .iter()
            .find_map(|mapping| {
                let offset = vmm_address.checked_sub(mapping.vmm_address)?;
                (offset < mapping.size).then_some(())?;
                mapping.guest_address.checked_add(offset).map(GuestAddress)
            })
            .ok_or(VhostError::InvalidParam)
    }

    fn features() -> u64 {
        1 << VIRTIO_F_VERSION_1
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }
}

fn unsupported<T>(message: &'static str) -> VhostResult<T> {
    Err(VhostError::InvalidOperation(message))
}

impl VhostUserBackendReqHandlerMut for FsDevice {
    fn set_owner(&mut self) -> VhostResult<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> VhostResult<()> {
        Ok(())
    }

    fn reset_device(&mut self) -> VhostResult<()> {
        for ring in &mut self.rings {
            ring.enabled = false;
            ring.queue.reset();
        }
        self.acknowledged_features = 0;
        Ok(())
    }

    fn get_features(&mut self) -> VhostResult<u64> {
        Ok(Self::features())
    }

    fn set_features(&mut self, features: u64) -> VhostResult<()> {
        if features & !Self::features() != 0 {
            return Err(VhostError::InvalidParam);
        }
        self.acknowledged_features = features;
        let protocol_features = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0;
        for ring in &mut self.rings {
            ring.queue.set_event_idx(features & 1 << VIRTIO_RING_F_EVENT_IDX != 0);
            // Without protocol features there is no message to enable a ring with: they start enabled.
            ring.enabled |= !protocol_features;
        }
        Ok(())
    }

    fn set_mem_table(&mut self, regions: &[VhostUserMemoryRegion], files: Vec<File>) -> VhostResult<()> {
        let mut mapped = Vec::new();
        let mut mappings = Vec::new();
        for (region, file) in regions.iter().zip(files) {
            let memory = region.mmap_region(file)?;
            let memory = GuestRegionMmap::new(memory, GuestAddress(region.guest_phys_addr))
                .ok_or(VhostError::InvalidParam)?;
            mapped.push(memory);
            mappings.push(Mapping {
                vmm_address: region.user_addr,
                guest_address: region.guest_phys_addr,
                size: region.memory_size,
            });
        }
        let memory = GuestMemoryMmap::from_regions(mapped)
            .map_err(|error| VhostError::ReqHandlerError(io::Error::other(error)))?;
        self.memory = Some(Arc::new(memory));
        self.mappings = mappings;
        Ok(())
    }

    fn set_vring_num(&mut self, index: u32, size: u32) -> VhostResult<()> {
        let size = u16::try_from(size).map_err(|_| VhostError::InvalidParam)?;
        self.ring(index)?.queue.try_set_size(size).map_err(|_| VhostError::InvalidParam)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> VhostResult<()> {
        let descriptor = self.guest_address(descriptor)?;
        let used = self.guest_address(used)?;
        let available = self.guest_address(available)?;
        let queue = &mut self.ring(index)?.queue;
        queue.try_set_desc_table_address(descriptor).map_err(|_| VhostError::InvalidParam)?;
        queue.try_set_avail_ring_address(available).map_err(|_| VhostError::InvalidParam)?;
        queue.try_set_used_ring_address(used).map_err(|_| VhostError::InvalidParam)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> VhostResult<()> {
        let base = u16::try_from(base).map_err(|_| VhostError::InvalidParam)?;
        let queue = &mut self.ring(index)?.queue;
        queue.set_next_avail(base);
        // Requests are answered in order and before the ring stops, so the two indices never differ.
        queue.set_next_used(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> VhostResult<VhostUserVringState> {
        let ring = self.ring(index)?;
        ring.queue.set_ready(false);
        ring.kick = None;
        ring.call = None;
        Ok(VhostUserVringState::new(index, u32::from(ring.queue.next_avail())))
    }

    fn set_vring_kick(&mut self, index: u8, kick: Option<File>) -> VhostResult<()> {
        let ring = self.ring(index.into())?;
        // A ring starts with its kick descriptor and stops with GET_VRING_BASE.
        ring.queue.set_ready(kick.is_some());
        ring.kick = kick.map(Arc::new);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, call: Option<File>) -> VhostResult<()> {
        self.ring(index.into())?.call = call;
        Ok(())
    }

    fn set_vring_err(&mut self, _index: u8, _error: Option<File>) -> VhostResult<()> {
        Ok(())
    }

    fn get_protocol_features(&mut self) -> VhostResult<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE)
    }

    fn set_protocol_features(&mut self, _features: u64) -> VhostResult<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> VhostResult<u64> {
        Ok(QUEUES.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> VhostResult<()> {
        self.ring(index)?.enabled = enable;
        Ok(())
    }

    fn get_config(&mut self, _offset: u32, _size: u32, _flags: VhostUserConfigFlags) -> VhostResult<Vec<u8>> {
        unsupported("the configuration space belongs to the VMM")
    }

    fn set_config(&mut self, _offset: u32, _bytes: &[u8], _flags: VhostUserConfigFlags) -> VhostResult<()> {
        unsupported("the configuration space belongs to the VMM")
    }

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> VhostResult<()> {
        unsupported("not a GPU")
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> VhostResult<File> {
        unsupported("no shared objects")
    }

    fn get_inflight_fd(&mut self, _inflight: &VhostUserInflight) -> VhostResult<(VhostUserInflight, File)> {
        unsupported("no in-flight tracking")
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> VhostResult<()> {
        unsupported("no in-flight tracking")
    }

    fn get_max_mem_slots(&mut self) -> VhostResult<u64> {
        unsupported("the memory table is set as a whole")
    }

    fn add_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion, _file: File) -> VhostResult<()> {
        unsupported("the memory table is set as a whole")
    }

    fn remove_mem_region(&mut self, _region: &VhostUserSingleMemoryRegion) -> VhostResult<()> {
        unsupported("the memory table is set as a whole")
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> VhostResult<Option<File>> {
        unsupported("no migration")
    }

    fn check_device_state(&mut self) -> VhostResult<()> {
        unsupported("no migration")
    }

    fn get_shmem_config(&mut self) -> VhostResult<VhostUserShMemConfig> {
        unsupported("no shared memory regions")
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> VhostResult<()> {
        unsupported("no migration")
    }
}

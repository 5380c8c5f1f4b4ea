//! The shared file system: a virtio-fs device whose queues another process serves.
//!
//! Responsible for: the device's configuration, and telling the vhost-user back end where memory, queues, notifications
//! and interrupts are. Must not know: files. Follows the virtio specification 1.2, section 5.11, and the vhost-user
//! protocol in QEMU's docs/interop/vhost-user.rst.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_ids::VIRTIO_ID_FS;
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::device::{ActivateError, Activation, FEATURE_VERSION_1, FEATURES_COMMON, Outside, VirtioDevice};
use crate::exit::ExitLatch;
use crate::memory::GuestRam;
use crate::{Error, FsConfig};

/// Longest mount tag, not necessarily terminated.
pub const MAX_TAG_BYTES: usize = 36;
/// One queue for urgent requests, one for all others; the specification has the urgent one first.
const QUEUES: usize = 2;
/// Linux uses one descriptor for each page of a request; a queue of 1024 takes 4 MiB in one.
const QUEUE_SIZES: [u16; QUEUES] = [128, 1024];
const REQUEST_QUEUES: u32 = 1;

/// The virtio-fs device.
pub struct Fs {
    config: Vec<u8>,
    features: u64,
    backend: Frontend,
    /// The same connection, to notice its end.
    connection: UnixStream,
    running: bool,
    exit: Arc<ExitLatch>,
}

impl Fs {
    /// Agrees with the back end on features. The back end must be serving the connection already.
    pub fn new(config: FsConfig, exit: Arc<ExitLatch>) -> Result<Self, Error> {
        let tag = config.tag.as_bytes();
        if tag.is_empty() || tag.len() > MAX_TAG_BYTES {
            return Err(Error::Config(format!(
                "mount tag {:?} has not 1 to {MAX_TAG_BYTES} bytes",
                config.tag
            )));
        }
        let mut space = vec![0; MAX_TAG_BYTES];
        for (slot, byte) in space.iter_mut().zip(tag) {
            *slot = *byte;
        }
        space.extend_from_slice(&REQUEST_QUEUES.to_le_bytes());

        let connection =
            config.backend.try_clone().map_err(Error::os("duplicate the connection to the file server"))?;
        let mut backend = Frontend::from_stream(config.backend, QUEUES as u64);
        let offered = negotiate(&mut backend)?;
        if offered & FEATURE_VERSION_1 == 0 {
            return Err(Error::Config("the file server does not speak virtio 1".to_owned()));
        }
        Ok(Fs {
            config: space,
            features: offered & FEATURES_COMMON,
            backend,
            connection,
            running: false,
            exit,
        })
    }

    fn start(&mut self, activation: &Activation) -> Result<(), vhost::Error> {
        self.backend.set_features(activation.features | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())?;
        self.backend.set_mem_table(&memory_table(&activation.ram)?)?;
        for (index, (queue, kick)) in activation.queues.iter().zip(activation.kicks.iter()).enumerate() {
            let Some(queue) = queue else { continue };
            self.backend.set_vring_num(index, queue.size())?;
            self.backend.set_vring_base(index, 0)?;
            self.backend.set_vring_addr(index, &ring_addresses(&activation.ram, queue)?)?;
            self.backend.set_vring_call(index, activation.interrupt.event())?;
            self.backend.set_vring_kick(index, kick)?;
            self.backend.set_vring_enable(index, true)?;
        }
        Ok(())
    }
}

fn negotiate(backend: &mut Frontend) -> Result<u64, Error> {
    backend.set_owner().map_err(Error::file_server("open a session"))?;
    let offered = backend.get_features().map_err(Error::file_server("agree on features"))?;
    if offered & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
        return Err(Error::Config("the file server lacks vhost-user protocol features".to_owned()));
    }
    let protocol =
        backend.get_protocol_features().map_err(Error::file_server("agree on protocol features"))?;
    let wanted = protocol & VhostUserProtocolFeatures::REPLY_ACK;
    backend.set_protocol_features(wanted).map_err(Error::file_server("agree on protocol features"))?;
    if wanted.contains(VhostUserProtocolFeatures::REPLY_ACK) {
        // Without acknowledgements a back end's refusal would show up as a guest that hangs in its first mount.
        backend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    Ok(offered)
}

fn memory_table(ram: &GuestRam) -> Result<Vec<VhostUserMemoryRegionInfo>, vhost::Error> {
    ram.iter().map(VhostUserMemoryRegionInfo::from_guest_region).collect()
}

/// Vhost-user names rings by this process's addresses, which the memory table relates to the guest's.
fn ring_addresses(ram: &GuestRam, queue: &Queue) -> Result<VringConfigData, vhost::Error> {
    let host = |address| {
        ram.get_host_address(GuestAddress(address))
            .map(|pointer| pointer.addr() as u64)
            .map_err(|_| vhost::Error::InvalidGuestMemory)
    };
    Ok(VringConfigData {
        queue_max_size: queue.max_size(),
        queue_size: queue.size(),
        flags: 0,
        desc_table_addr: host(queue.desc_table())?,
        used_ring_addr: host(queue.used_ring())?,
        avail_ring_addr: host(queue.avail_ring())?,
        log_addr: None,
    })
}

impl VirtioDevice for Fs {
    fn id(&self) -> u32 {
        VIRTIO_ID_FS
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        // Even a start that fails half way may have given the back end a queue, which a reset has to take back.
        self.running = true;
        Ok(self.start(&activation)?)
    }

    fn reset(&mut self) {
        if !self.running {
            return;
        }
        self.running = false;
        for index in 0..QUEUES {
            // Asking for the base stops a ring; its answer comes after the last access to guest memory.
            if let Err(error) = self.backend.get_vring_base(index) {
                log::warn!("virtio-fs: file server does not stop queue {index}: {error}");
            }
        }
    }

    fn status_is_constant(&self) -> bool {
        true
    }

    fn wants_notifications(&self, _index: usize) -> bool {
        false
    }

    fn notified(&mut self, _index: usize) {}

    fn outside_descriptors(&self) -> Vec<Outside> {
        vec![Outside::Readable(self.connection.as_raw_fd())]
    }

    fn outside_event(&mut self, _index: usize) {
        // The back end sends nothing by itself (no back-end channel was agreed on) and answers are read, under the
        // device's lock, by the call that expects them. So what is readable here can only be the end.
        let mut byte = [0; 1];
        let received = rustix::net::recv(
            &self.connection,
            &mut byte,
            rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
        );
        match received {
            Ok((0, _)) => self.exit.set(Err(Error::FileServerGone)),
            Err(error) if error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR => {
                self.exit.set(Err(Error::FileServerGone));
            }
            _ => {}
        }
    }
}

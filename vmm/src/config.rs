//! What a virtual machine is made of: the one boundary between the hypervisor and its caller.
//!
//! Responsible for: plain data. Every descriptor in it is already open, so that [`crate::Vm`] can be built and run in
//! a process that may open nothing. Must not know: pods, images, paths on the host.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::{KvmFeatures, MemoryFile, Metrics};

/// A virtual machine to build.
#[derive(Debug)]
pub struct VmConfig {
    /// `/dev/kvm`, opened read-write by the caller.
    pub kvm: File,
    /// Number of virtual CPUs, 1 to [`crate::MAX_VCPUS`].
    pub vcpus: u8,
    /// Features of KVM's that its guest is not offered, for a host whose KVM has a fault in one.
    pub hidden_features: KvmFeatures,
    /// Guest memory.
    pub memory: MemoryFile,
    /// Uncompressed ELF `vmlinux`.
    pub kernel: File,
    /// Uncompressed cpio archive, loaded as the initial RAM file system.
    pub initramfs: File,
    /// Kernel command line, without what the VMM itself must add to describe its devices.
    pub command_line: String,
    /// The shared file system, served by another process.
    pub fs: Option<FsConfig>,
    /// The socket device.
    pub vsock: Option<VsockConfig>,
    /// Where the guest's serial console goes, beside [`Metrics::console`].
    pub serial: Option<File>,
    /// Where it counts what it does.
    pub metrics: &'static Metrics,
    /// Network cards, at most [`crate::MAX_NETWORK_CARDS`]; the guest finds them in this order.
    pub net: Vec<NetConfig>,
    /// How the machine's threads give up what they no longer need. `None` leaves them as they are.
    pub confinement: Option<Confinement>,
}

/// What each thread of the machine does before the guest's first instruction, once it has everything it will ever need.
///
/// A process with this is the machine's alone and ends with it: confined threads cannot even end, so they stop where they are when
/// the machine has ended, and what KVM holds for it is released with the process.
#[derive(Clone, Copy, Debug)]
pub struct Confinement {
    /// Confines the calling thread, which serves the devices.
    pub device_thread: fn() -> io::Result<()>,
    /// Confines the calling thread, which runs a virtual CPU.
    pub vcpu_thread: fn() -> io::Result<()>,
}

/// A virtio-net device over a tap.
#[derive(Debug)]
pub struct NetConfig {
    /// The tap: one descriptor for each pair of queues, as [`crate::open_tap`] returns them, at most
    /// [`crate::MAX_QUEUE_PAIRS`]. More than one is of use to a guest of several virtual CPUs only.
    pub queues: Vec<File>,
    /// The card's address.
    pub mac: [u8; 6],
    /// The largest packet that the network takes, which the guest makes the interface's own; 1500 if not said.
    pub mtu: Option<u16>,
    /// How much may pass.
    pub limits: NetLimits,
    /// `/dev/vhost-net`, opened read-write once for each pair of queues: the host's kernel then serves the queues instead of this
    /// process, and `limits` cannot be kept. Empty for none.
    pub vhost: Vec<File>,
}

/// Bounds on what a network card passes, either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetLimits {
    /// What the guest receives.
    pub receive: NetLimit,
    /// What the guest sends.
    pub transmit: NetLimit,
}

/// Bounds on one direction. What is beyond them waits; it is dropped where the host's queue of the tap is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetLimit {
    /// In bytes of whole frames.
    pub bytes: Option<Rate>,
    /// In frames as the network sees them: one that the host is still to split counts for all its parts.
    pub packets: Option<Rate>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What passes in a second in the long run.
    pub per_second: NonZeroU64,
    /// What passes at once after a pause.
    pub burst: NonZeroU64,
}

/// A virtio-fs device whose requests a vhost-user back end serves.
#[derive(Debug)]
pub struct FsConfig {
    /// Mount tag the guest uses (virtio specification 1.2, 5.11.4), at most 36 bytes.
    pub tag: String,
    /// Connection to the back end; this side speaks first.
    pub backend: UnixStream,
}

/// A virtio-vsock device whose host side is made of unix sockets.
#[derive(Debug)]
pub struct VsockConfig {
    /// Context ID of the guest.
    pub guest_cid: u32,
    /// Streams that take the guest's connections: the first connection the guest opens to the port gets the stream.
    pub guest_to_host: Vec<(u32, UnixStream)>,
    /// Accepts host programs that connect to guest ports by writing `CONNECT <port>\n` and reading `OK <port>\n`.
    pub host_to_guest: Option<UnixListener>,
}

//! What a virtual machine is made of: the one boundary between the hypervisor and its caller.
//!
//! Responsible for: plain data. Every descriptor in it is already open, so that [`crate::Vm`] can be built and run in
//! a process that may open nothing. Must not know: pods, images, paths on the host.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::MemoryFile;

/// A virtual machine to build.
#[derive(Debug)]
pub struct VmConfig {
    /// `/dev/kvm`, opened read-write by the caller.
    pub kvm: File,
    /// Number of virtual CPUs, 1 to [`crate::MAX_VCPUS`].
    pub vcpus: u8,
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
    /// Where the guest's serial console goes. `None` means there is no serial port at all.
    pub serial: Option<File>,
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

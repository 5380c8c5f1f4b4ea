//! Why a virtual machine could not be built or had to stop.
//!
//! Responsible for: messages that a person at a terminal can act on. Must not know: how they are printed. Follows the
//! house rule of one error enum per crate, the cause as source.

use std::io;

/// Why a virtual machine could not be built or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(clippy::error_impl_error, reason = "the crate has one error, and callers write vmm::Error")]
pub enum Error {
    /// A field of [`crate::VmConfig`] is out of range.
    #[error("invalid virtual machine configuration: {0}")]
    Config(String),
    /// The descriptor answers none of KVM's requests, or those of another KVM API.
    #[error("/dev/kvm speaks API version {0}, not 12: is it the KVM device of this host?")]
    KvmVersion(i32),
    /// The running kernel's KVM lacks something this VMM is built on.
    #[error("KVM on this host has no {0}; Linux 4.14 or newer with hardware virtualisation is needed")]
    KvmExtension(&'static str),
    /// A KVM request failed.
    #[error("KVM cannot {operation}")]
    Kvm {
        /// What was asked for, as an infinitive.
        operation: &'static str,
        /// What the kernel answered.
        source: kvm_ioctls::Error,
    },
    /// Guest memory could not be allocated or mapped.
    #[error("cannot provide {mib} MiB of guest memory")]
    Memory {
        /// The size asked for.
        mib: u32,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something the guest needs for booting does not fit where it has to be.
    #[error("guest memory is too small for {0}")]
    DoesNotFit(&'static str),
    /// The kernel image cannot be loaded.
    #[error("the guest kernel is not a bootable x86-64 ELF image")]
    Kernel(#[source] linux_loader::loader::Error),
    /// The kernel's entry point lies outside of what was loaded and there is no PVH entry point.
    #[error("the guest kernel has neither a 64-bit entry point at its load address nor a PVH note")]
    KernelEntry,
    /// The initial RAM file system cannot be read.
    #[error("cannot load the initial RAM file system")]
    Initramfs(#[source] io::Error),
    /// The kernel command line, with the devices on it, is longer than what the kernel reads.
    #[error("the kernel command line has {0} bytes; the kernel reads at most {max}", max = crate::MAX_COMMAND_LINE_BYTES)]
    CommandLine(usize),
    /// An operating system request of the VMM itself failed.
    #[error("cannot {operation}")]
    Os {
        /// What was asked for, as an infinitive.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The event loop cannot be set up or run.
    #[error("the device event loop failed")]
    EventLoop(#[source] event_manager::Error),
    /// The vhost-user back end of the shared file system does not answer as the protocol says.
    #[error("cannot {operation} with the file server")]
    FileServer {
        /// What was asked for, as an infinitive.
        operation: &'static str,
        /// The reason.
        source: vhost::Error,
    },
    /// The file server closed its connection while the guest was running.
    #[error("the file server ended while the virtual machine was running")]
    FileServerGone,
    /// KVM cannot continue a virtual CPU.
    #[error("virtual CPU {vcpu} cannot continue: {reason} ({registers})")]
    VcpuStopped {
        /// Index of the virtual CPU.
        vcpu: u8,
        /// What KVM reported.
        reason: String,
        /// The registers at that moment.
        registers: String,
    },
}

impl Error {
    /// Names the KVM request that failed.
    pub(crate) fn kvm(operation: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
        move |source| Error::Kvm { operation, source }
    }

    /// Names the operating system request that failed.
    pub(crate) fn os<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::Os { operation, source: source.into() }
    }

    /// Names the vhost-user request that failed.
    pub(crate) fn file_server(operation: &'static str) -> impl FnOnce(vhost::Error) -> Error {
        move |source| Error::FileServer { operation, source }
    }
}

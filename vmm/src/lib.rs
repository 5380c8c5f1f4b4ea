//! The hypervisor: KVM, guest memory, boot, virtio devices.
//!
//! Responsible for: turning a [`VmConfig`] into a running virtual machine and saying how it ended. Must not know: pods,
//! images, host paths. Follows docs/architecture.md, in the order [`config`], [`memory`], [`arch`], [`virtio`], [`vm`].

mod arch;
mod config;
mod device_thread;
mod devices;
mod error;
mod event_loop;
mod exit;
pub mod fuzzing;
mod logger;
mod memory;
pub mod metrics;
mod scheduling;
mod vcpu;
mod virtio;
mod vm;

#[cfg(test)]
mod device_thread_test;
#[cfg(test)]
mod exit_test;
#[cfg(test)]
mod logger_test;
#[cfg(test)]
mod memory_test;
#[cfg(test)]
mod metrics_test;
#[cfg(test)]
mod scheduling_test;
#[cfg(test)]
mod vm_test;

pub use arch::x86_64::cpuid::KvmFeatures;
pub use config::{Confinement, FsConfig, NetConfig, NetLimit, NetLimits, Rate, VmConfig, VsockConfig};
pub use devices::console_tail::ConsoleTail;
pub use error::Error;
pub use exit::Exit;
pub use logger::{LOG_MARK, Logger};
pub use memory::{MAX_MEMORY_MIB, MemoryFile};
pub use metrics::Metrics;
pub use virtio::net::counters::NetCounters;
pub use virtio::net::tap::{MAX_QUEUE_PAIRS, open_tap};
pub use vm::{MAX_NETWORK_CARDS, Vm};

/// Largest number of virtual CPUs of one machine. The guest kernel is built for 32, and every one costs a thread.
pub const MAX_VCPUS: u8 = 32;

/// `COMMAND_LINE_SIZE` of Linux on x86: bytes of command line that the kernel reads, the terminating zero included.
pub const MAX_COMMAND_LINE_BYTES: usize = 2048;

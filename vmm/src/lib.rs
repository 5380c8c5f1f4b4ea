//! The hypervisor: KVM, guest memory, boot, virtio devices.
//!
//! Responsible for: turning a [`VmConfig`] into a running virtual machine and saying how it ended. Must not know: pods,
//! images, host paths. Follows docs/architecture.md, in the order `config`, `memory`, `arch`, `virtio`, `vm`.

mod config;
mod error;
mod vm;

pub use config::{FsConfig, VmConfig, VsockConfig};
pub use error::Error;
pub use vm::{Exit, Vm};

/// Largest number of virtual CPUs of one machine. The guest kernel is built for 32, and every one costs a thread.
pub const MAX_VCPUS: u8 = 32;

//! Why a virtual machine could not be built or had to stop.
//!
//! Responsible for: messages that a person at a terminal can act on. Must not know: how they are printed. Follows the
//! house rule of one error enum per crate, the cause as source.

/// Why a virtual machine could not be built or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of [`crate::VmConfig`] is out of range.
    #[error("invalid virtual machine configuration: {0}")]
    Config(String),
    /// The KVM API of the running kernel is not the one every kernel since 2.6.22 has.
    #[error("/dev/kvm speaks API version {0}, not 12: is it the KVM device?")]
    KvmVersion(i32),
    /// The running kernel's KVM lacks something this VMM is built on.
    #[error(
        "KVM on this host lacks {0}: a Linux kernel from 4.14 on with a hardware virtualisation module is needed"
    )]
    KvmExtension(&'static str),
}

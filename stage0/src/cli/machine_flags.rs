//! Flags for the size of a pod's virtual machine.
//!
//! Responsible for: their definition and their place in the pod manifest. Must not know: what the host has, how stage1 makes a
//! machine. Follows docs/machine.md.

use appc::machine::{CPU_ISOLATOR, MEMORY_ISOLATOR};
use appc::{Isolator, Quantity};
use clap::Args;

use crate::error::Result;
use crate::pod::manifest::limit;

/// What every command that makes a pod has.
#[derive(Debug, Clone, Default, Args)]
pub struct MachineFlags {
    /// memory of the pod's virtual machine (example: '--vm-memory=2Gi'). If not set, the sum of the apps' limits and 128 MiB, at least 512 MiB
    #[arg(long, value_name = "string")]
    pub vm_memory: Option<Quantity>,

    /// number of virtual CPUs of the pod's virtual machine. If not set, the sum of the apps' limits, or all of the host's
    #[arg(long, value_name = "int", value_parser = clap::value_parser!(u32).range(1..))]
    pub vm_cpus: Option<u32>,
}

impl MachineFlags {
    /// Whether any of them was given.
    pub fn is_empty(&self) -> bool {
        self.vm_memory.is_none() && self.vm_cpus.is_none()
    }

    /// What stands in the pod manifest.
    pub fn isolators(&self) -> Result<Vec<Isolator>> {
        let memory = self.vm_memory.as_ref().map(|memory| limit(MEMORY_ISOLATOR, memory));
        let cpus = self.vm_cpus.map(|cpus| limit(CPU_ISOLATOR, &cpus));
        memory.into_iter().chain(cpus).collect()
    }
}

//! The size of the machine that a pod asks for as a whole: the resource isolators of the pod itself.

use crate::{AppcError, PodManifest};

/// Isolator of a pod that says how much memory its machine has.
pub const MEMORY_ISOLATOR: &str = "resource/memory";
/// Isolator of a pod that says how many processors its machine has.
pub const CPU_ISOLATOR: &str = "resource/cpu";

/// The least memory of a machine: a Linux kernel, its page tables and a first process, with as much left for an app.
pub const MIN_MACHINE_BYTES: u64 = 128 * 1024 * 1024;

/// The most processors of a machine of our stage1's.
pub const MAX_MACHINE_CPUS: u32 = 32;

/// What a pod asks for, beside what its apps do. `None` leaves the size to stage1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineSize {
    /// Bytes of memory, [`MIN_MACHINE_BYTES`] at least: the limit of `resource/memory`.
    pub memory: Option<u64>,
    /// Processors, one at least: the limit of `resource/cpu`, rounded up.
    pub cpus: Option<u32>,
}

impl PodManifest {
    /// The size that the pod's own isolators ask for; the last one of a name counts. Errors: one without a limit, or with one that
    /// no machine has.
    pub fn machine_size(&self) -> Result<MachineSize, AppcError> {
        let size = MachineSize { memory: self.limit(MEMORY_ISOLATOR)?, cpus: self.limit(CPU_ISOLATOR)? };
        match size.memory {
            Some(memory) if memory < MIN_MACHINE_BYTES => {
                Err(AppcError::SmallMachine { found: memory, least: MIN_MACHINE_BYTES >> 20 })
            }
            _ => Ok(size),
        }
    }

    fn limit<N: TryFrom<i128>>(&self, name: &str) -> Result<Option<N>, AppcError> {
        let Some(isolator) = self.isolators.iter().rev().find(|isolator| isolator.name.as_str() == name)
        else {
            return Ok(None);
        };
        let limit = isolator.limit().map(|limit| limit.value()).filter(|limit| *limit > 0);
        match limit.and_then(|limit| N::try_from(limit).ok()) {
            Some(limit) => Ok(Some(limit)),
            None => Err(AppcError::PodIsolator { name: name.to_owned(), value: isolator.value.to_string() }),
        }
    }
}

//! How large a pod's VM is.
//!
//! Responsible for: memory and virtual CPUs from the isolators of the pod, else from those of its apps. Must not know: how
//! these are enforced app by app in the guest. Follows rkt-reference 5.3, the rule of rkt's kvm flavour, and docs/machine.md.

use appc::{App, AppcError, Isolator, PodManifest};

use crate::groups::limits;
use crate::plan::Warning;

/// Why a machine of the size that a pod asks for cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    /// The isolator makes no sense.
    #[error("cannot size the pod's machine")]
    Isolator(#[from] AppcError),
    /// More memory than there is.
    #[error("the pod's machine cannot have {wanted_mib} MiB of memory: {limit_mib} MiB is all {whose}")]
    Memory {
        /// What was asked for.
        wanted_mib: u64,
        /// What there is.
        limit_mib: u64,
        /// Where.
        whose: &'static str,
    },
    /// More processors than there are.
    #[error("the pod's machine cannot have {wanted} CPUs: {limit} is all {whose}")]
    Cpus {
        /// What was asked for.
        wanted: u32,
        /// What there is.
        limit: usize,
        /// Where.
        whose: &'static str,
    },
}

const OF_HOST: &str = "that this host has";
const OF_VMM: &str = "that a virtual machine can have";

/// The size of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Virtual CPUs.
    pub vcpus: u8,
    /// Guest memory.
    pub memory_mib: u32,
}

/// What the pod asks for as a whole, on a host of this size; else what follows from its apps.
pub fn size(pod: &PodManifest, apps: &[&App], host_cpus: usize, host_bytes: u64) -> Result<Size, SizeError> {
    let wanted = pod.machine_size()?;
    let host_mib = host_bytes / BYTES_PER_MIB as u64;
    let memory_mib = match wanted.memory {
        None => memory_mib(apps.iter().copied()).min(most_memory(host_mib)),
        Some(bytes) => chosen_memory(bytes / BYTES_PER_MIB as u64, host_mib)?,
    };
    let vcpus = match wanted.cpus {
        None => vcpus(apps.iter().copied(), host_cpus),
        Some(cpus) => chosen_vcpus(cpus, host_cpus)?,
    };
    Ok(Size { vcpus, memory_mib })
}

/// What is said of an isolator of the pod that nothing follows from.
pub fn unapplied(isolator: &Isolator) -> Option<Warning> {
    let applied = limits::OF_POD.contains(&isolator.name.as_str());
    let text = || format!("warning: isolator {} of the pod is not applied", isolator.name);
    (!applied).then(|| Warning { subsystem: "stage1", text: text() })
}

/// What a machine has at most whose apps have larger limits, which are the images' word: a guest's kernel writes a page of its own
/// for every 64 pages that it has, so one of a thousand times the host's memory would take all of that before an app runs.
fn most_memory(host_mib: u64) -> u32 {
    u32::try_from(host_mib).unwrap_or(u32::MAX).clamp(MINIMUM_MIB, vmm::MAX_MEMORY_MIB)
}

/// What is said of an app whose memory limit is beyond the memory of its machine: it will run out of memory before.
pub fn beyond_machine(name: &str, app: &App, memory_mib: u32) -> Option<Warning> {
    let limit = app.isolator("resource/memory")?.limit()?.value() / BYTES_PER_MIB;
    let text = || {
        format!(
            "warning: app {name:?} may use {limit} MiB of memory, but the pod's machine has only {memory_mib} MiB \
             (a sandbox gets more with --vm-memory)"
        )
    };
    (limit > i128::from(memory_mib)).then(|| Warning { subsystem: "stage1", text: text() })
}

fn chosen_memory(wanted_mib: u64, host_mib: u64) -> Result<u32, SizeError> {
    let refused = |limit_mib, whose| SizeError::Memory { wanted_mib, limit_mib, whose };
    if wanted_mib > host_mib {
        return Err(refused(host_mib, OF_HOST));
    }
    let chosen = u32::try_from(wanted_mib).ok().filter(|mib| *mib <= vmm::MAX_MEMORY_MIB);
    chosen.ok_or_else(|| refused(u64::from(vmm::MAX_MEMORY_MIB), OF_VMM))
}

fn chosen_vcpus(wanted: u32, host_cpus: usize) -> Result<u8, SizeError> {
    let refused = |limit, whose| SizeError::Cpus { wanted, limit, whose };
    if usize::try_from(wanted).is_ok_and(|wanted| wanted > host_cpus) {
        return Err(refused(host_cpus, OF_HOST));
    }
    let chosen = u8::try_from(wanted).ok().filter(|cpus| *cpus <= vmm::MAX_VCPUS);
    chosen.ok_or_else(|| refused(usize::from(vmm::MAX_VCPUS), OF_VMM))
}

/// Memory for the guest kernel, guest-init and page tables on top of what the apps asked for.
const OVERHEAD_MIB: u32 = 128;

/// What a VM gets at least, since rkt 1.25.
const MINIMUM_MIB: u32 = 512;

const BYTES_PER_MIB: i128 = 1024 * 1024;

/// Guest memory in MiB: the sum of the apps' memory limits in whole MiB plus [`OVERHEAD_MIB`], at least [`MINIMUM_MIB`].
/// Apps without a limit add nothing.
pub fn memory_mib<'a>(apps: impl Iterator<Item = &'a App>) -> u32 {
    let limits = apps
        .filter_map(|app| app.isolator("resource/memory")?.limit())
        .map(|limit| u32::try_from(limit.value().max(0) / BYTES_PER_MIB).unwrap_or(u32::MAX));
    limits.fold(OVERHEAD_MIB, u32::saturating_add).max(MINIMUM_MIB)
}

/// Virtual CPUs: the sum of the apps' CPU limits, each rounded up to whole CPUs. All of the host's if no app has a
/// limit or the sum exceeds them; never more than the VMM supports.
pub fn vcpus<'a>(apps: impl Iterator<Item = &'a App>, host_cpus: usize) -> u8 {
    let most = u8::try_from(host_cpus).unwrap_or(u8::MAX).clamp(1, vmm::MAX_VCPUS);
    let limits: Vec<i128> = apps
        .filter_map(|app| app.isolator("resource/cpu")?.limit())
        .map(|limit| limit.value().max(0))
        .collect();
    let sum = limits.iter().fold(0, |sum: i128, limit| sum.saturating_add(*limit));
    match u8::try_from(sum) {
        Ok(sum) if sum > 0 && sum <= most => sum,
        _ => most,
    }
}

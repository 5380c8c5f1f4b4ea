//! How large a pod's VM is.
//!
//! Responsible for: memory and virtual CPUs from the apps' isolators. Must not know: how they are enforced app by app in
//! the guest. Follows rkt-reference 5.3, the rule of rkt's kvm flavour.

use appc::App;

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

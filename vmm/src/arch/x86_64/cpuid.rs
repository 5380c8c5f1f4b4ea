//! What the guest's CPUID instruction says.
//!
//! Responsible for: KVM's supported features, adjusted to this machine: identity and topology of each virtual CPU, the
//! deadline timer, and the removal of what a pod has no use for. Must not know: the kernel. Follows Intel's Software
//! Developer's Manual volume 2, "CPUID", AMD's manual volume 3, appendix E, and Linux's Documentation/virt/kvm/x86/cpuid.rst.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;

use crate::Error;

const LEAF_FEATURES: u32 = 0x1;
const LEAF_CACHES: u32 = 0x4;
const LEAF_PERFORMANCE_MONITORING: u32 = 0xa;
const LEAF_TOPOLOGY: u32 = 0xb;
const LEAF_TOPOLOGY_V2: u32 = 0x1f;
/// KVM's own features.
const LEAF_KVM_FEATURES: u32 = 0x4000_0001;
const LEAF_AMD_FEATURES: u32 = 0x8000_0001;
const LEAF_AMD_CORES: u32 = 0x8000_0008;
const LEAF_AMD_NESTED: u32 = 0x8000_000a;
const LEAF_AMD_CACHES: u32 = 0x8000_001d;
const LEAF_AMD_TOPOLOGY: u32 = 0x8000_001e;
const LEAF_AMD_PERFORMANCE_MONITORING: u32 = 0x8000_0022;

const ECX_VMX: u32 = 1 << 5;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;
const EDX_HYPERTHREADING: u32 = 1 << 28;
const AMD_ECX_SVM: u32 = 1 << 2;
/// Core, northbridge and last-level-cache performance counters.
const AMD_ECX_COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;

const LEVEL_THREAD: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;
/// EBX[15:8] of leaf 1: what CLFLUSH flushes, in units of 8 bytes.
const CACHE_LINE_QUADWORDS: u32 = 8;

/// KVM's features by the names that QEMU has for them, and their bits in EAX of [`LEAF_KVM_FEATURES`].
const KVM_FEATURES: [(&str, u32); 10] = [
    ("kvm-nopiodelay", 1),
    ("kvm-asyncpf", 4),
    ("kvm-steal-time", 5),
    ("kvm-pv-eoi", 6),
    ("kvm-pv-unhalt", 7),
    ("kvm-pv-tlb-flush", 9),
    ("kvm-pv-ipi", 11),
    ("kvm-poll-control", 12),
    ("kvm-pv-sched-yield", 13),
    ("kvm-asyncpf-int", 14),
];

/// Some of KVM's features for its guests, which a guest does without if it must. Its clock is not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KvmFeatures(u32);

impl KvmFeatures {
    /// Reads names, with commas between them. `None` if one is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let names = text.split(',').filter(|name| !name.is_empty());
        let bit = |name| KVM_FEATURES.iter().find(|(known, _)| *known == name).map(|(_, bit)| 1 << bit);
        names.map(bit).try_fold(0, |bits, bit| Some(bits | bit?)).map(Self)
    }
}

/// The features of this host that KVM can give to a guest. The request takes 0.4 ms, so it is made once per machine.
pub fn supported(kvm: &Kvm) -> Result<CpuId, Error> {
    kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(Error::kvm("list the processor features it supports"))
}

/// The same without what guests are not to have.
pub fn without(mut supported: CpuId, hidden: KvmFeatures) -> CpuId {
    for entry in supported.as_mut_slice().iter_mut().filter(|entry| entry.function == LEAF_KVM_FEATURES) {
        entry.eax &= !hidden.0;
    }
    supported
}

/// The table of virtual CPU `index` in a machine of `vcpus`.
pub fn for_vcpu(supported: &CpuId, index: u8, vcpus: u8) -> Result<CpuId, Error> {
    let max_leaf = supported.as_slice().iter().find(|entry| entry.function == 0).map_or(0, |entry| entry.eax);
    let id = u32::from(index);
    let mut entries: Vec<kvm_cpuid_entry2> = supported
        .as_slice()
        .iter()
        .filter(|entry| !is_removed(entry.function))
        .map(|entry| adjusted(*entry, id, u32::from(vcpus)))
        .collect();
    if max_leaf >= LEAF_TOPOLOGY {
        entries.extend(topology(id, u32::from(vcpus)));
    }
    CpuId::from_entries(&entries).map_err(|_| Error::DoesNotFit("processor features"))
}

/// Leaves that the guest finds zero: performance counters and nested virtualisation, which pods have no use for and
/// which would be host kernel code that guests can reach, and topology, which [`topology`] replaces.
fn is_removed(leaf: u32) -> bool {
    matches!(
        leaf,
        LEAF_PERFORMANCE_MONITORING
            | LEAF_TOPOLOGY
            | LEAF_TOPOLOGY_V2
            | LEAF_AMD_NESTED
            | LEAF_AMD_PERFORMANCE_MONITORING
    )
}

fn adjusted(mut entry: kvm_cpuid_entry2, id: u32, vcpus: u32) -> kvm_cpuid_entry2 {
    match entry.function {
        LEAF_FEATURES => {
            entry.ebx = id << 24 | vcpus << 16 | CACHE_LINE_QUADWORDS << 8 | entry.ebx & 0xff;
            entry.ecx = entry.ecx & !ECX_VMX | ECX_TSC_DEADLINE | ECX_HYPERVISOR;
            if vcpus > 1 {
                entry.edx |= EDX_HYPERTHREADING;
            }
        }
        LEAF_CACHES if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | (vcpus - 1) << 26 | sharing_field(entry.eax, vcpus);
        }
        // The same without the number of cores, whose bits are reserved here.
        LEAF_AMD_CACHES if entry.eax & 0x1f != 0 => {
            entry.eax = entry.eax & 0x3fff | sharing_field(entry.eax, vcpus);
        }
        LEAF_AMD_FEATURES => entry.ecx &= !(AMD_ECX_SVM | AMD_ECX_COUNTERS),
        LEAF_AMD_CORES => entry.ecx = core_bits(vcpus) << 12 | (vcpus - 1),
        LEAF_AMD_TOPOLOGY => {
            entry.eax = id;
            entry.ebx = id;
            entry.ecx = 0;
        }
        _ => {}
    }
    entry
}

/// The field of a cache leaf's EAX that says how many processors share the cache: the first two levels belong to a core.
fn sharing_field(eax: u32, vcpus: u32) -> u32 {
    let level = eax >> 5 & 0x7;
    let sharing = if level < 3 { 1 } else { vcpus };
    (sharing - 1) << 14
}

/// Bits of an APIC ID that tell the cores of the one package apart.
fn core_bits(vcpus: u32) -> u32 {
    vcpus.next_power_of_two().trailing_zeros()
}

/// One package of `vcpus` cores with one thread each.
fn topology(id: u32, vcpus: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index, eax, ebx, kind| kvm_cpuid_entry2 {
        function: LEAF_TOPOLOGY,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax,
        ebx,
        ecx: index | kind,
        edx: id,
        ..Default::default()
    };
    [level(0, 0, 1, LEVEL_THREAD), level(1, core_bits(vcpus), vcpus, LEVEL_CORE), level(2, 0, 0, 0)]
}

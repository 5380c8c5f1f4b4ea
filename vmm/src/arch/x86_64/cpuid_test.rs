use kvm_bindings::{CpuId, kvm_cpuid_entry2};

use crate::arch::x86_64::cpuid::{self, KvmFeatures};

fn leaf(function: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, eax: u32::MAX, ebx: u32::MAX, ecx: u32::MAX, edx: 0, ..Default::default() }
}

fn host() -> CpuId {
    let leaves = [0x0, 0x1, 0xa, 0xb, 0x1f, 0x4000_0001, 0x8000_0001, 0x8000_000a].map(leaf);
    CpuId::from_entries(&leaves).unwrap()
}

fn find(table: &CpuId, function: u32, index: u32) -> Option<kvm_cpuid_entry2> {
    table.as_slice().iter().find(|entry| entry.function == function && entry.index == index).copied()
}

#[test]
fn every_vcpu_has_its_own_apic_id() {
    let table = cpuid::for_vcpu(&host(), 2, 4).unwrap();

    assert_eq!(find(&table, 0x1, 0).unwrap().ebx >> 24, 2);
    assert_eq!(find(&table, 0xb, 1).unwrap().edx, 2);
}

#[test]
fn topology_is_one_package_of_single_threaded_cores() {
    let table = cpuid::for_vcpu(&host(), 0, 3).unwrap();

    let threads = find(&table, 0xb, 0).unwrap();
    assert_eq!((threads.eax, threads.ebx), (0, 1));
    let cores = find(&table, 0xb, 1).unwrap();
    assert_eq!((cores.eax, cores.ebx), (2, 3));
}

#[test]
fn guest_sees_a_hypervisor_and_a_deadline_timer() {
    let ecx = find(&cpuid::for_vcpu(&host(), 0, 1).unwrap(), 0x1, 0).unwrap().ecx;

    assert_ne!(ecx & 1 << 31, 0);
    assert_ne!(ecx & 1 << 24, 0);
}

#[test]
fn guest_sees_neither_nested_virtualisation_nor_performance_counters() {
    let table = cpuid::for_vcpu(&host(), 0, 1).unwrap();

    assert_eq!(find(&table, 0x1, 0).unwrap().ecx & 1 << 5, 0);
    assert_eq!(find(&table, 0x8000_0001, 0).unwrap().ecx & 1 << 2, 0);
    assert!(find(&table, 0xa, 0).is_none());
    assert!(find(&table, 0x8000_000a, 0).is_none());
}

#[test]
fn paravirtual_features_pass_through() {
    assert_eq!(find(&cpuid::for_vcpu(&host(), 0, 1).unwrap(), 0x4000_0001, 0).unwrap().eax, u32::MAX);
}

#[test]
fn hidden_paravirtual_features_are_not_there() {
    let hidden = KvmFeatures::parse("kvm-pv-eoi,kvm-asyncpf").unwrap();
    let features = cpuid::without(host(), hidden);

    let eax = find(&cpuid::for_vcpu(&features, 0, 1).unwrap(), 0x4000_0001, 0).unwrap().eax;
    assert_eq!(eax, !(1 << 6 | 1 << 4));
    assert_eq!(KvmFeatures::parse(""), Some(KvmFeatures::default()));
    assert_eq!(KvmFeatures::parse("kvm-pv-eoi,kvmclock"), None);
}

#[test]
fn host_without_a_topology_leaf_gets_none() {
    let mut root = leaf(0);
    root.eax = 0x7;
    let host = CpuId::from_entries(&[root, leaf(1)]).unwrap();

    assert!(find(&cpuid::for_vcpu(&host, 0, 1).unwrap(), 0xb, 0).is_none());
}

#[test]
fn host_threads_share_no_cache_in_the_guest() {
    // Level and type in the low bits; on the host, 16 threads share each cache.
    let cache = |function, level: u32| kvm_cpuid_entry2 {
        function,
        index: level,
        eax: 15 << 14 | level << 5 | 1,
        ..Default::default()
    };
    let leaves = [0x4, 0x8000_001d].map(|function| [cache(function, 1), cache(function, 3)]).concat();
    let table = cpuid::for_vcpu(&CpuId::from_entries(&leaves).unwrap(), 0, 2).unwrap();

    let sharing = |function, level| (find(&table, function, level).unwrap().eax >> 14 & 0xfff) + 1;
    for function in [0x4, 0x8000_001d] {
        assert_eq!((sharing(function, 1), sharing(function, 3)), (1, 2), "leaf {function:#x}");
    }
    assert_eq!(find(&table, 0x8000_001d, 1).unwrap().eax >> 26, 0);
}

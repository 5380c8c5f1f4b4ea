use std::fs::File;

use crate::{Error, KvmFeatures, MemoryFile, Metrics, Vm, VmConfig};

fn config() -> VmConfig {
    let file = || File::open("/dev/null").unwrap();
    VmConfig {
        kvm: file(),
        vcpus: 1,
        hidden_features: KvmFeatures::default(),
        memory: MemoryFile::create(128).unwrap(),
        kernel: file(),
        initramfs: file(),
        command_line: String::new(),
        fs: None,
        vsock: None,
        serial: None,
        metrics: Metrics::shared().unwrap(),
        net: Vec::new(),
        confinement: None,
    }
}

#[test]
fn descriptor_that_is_not_kvm_is_refused() {
    assert!(matches!(Vm::build(config()).unwrap_err(), Error::KvmVersion(_)));
}

#[test]
fn machine_without_a_processor_is_refused() {
    let error = Vm::build(VmConfig { vcpus: 0, ..config() }).unwrap_err();

    assert!(error.to_string().contains("0 virtual CPUs"), "{error}");
}

#[test]
fn machine_with_too_little_memory_is_refused() {
    let error = MemoryFile::create(1).unwrap_err();

    assert!(error.to_string().contains("1 MiB of memory"), "{error}");
}

#[test]
fn command_line_with_a_line_break_is_refused() {
    let error = Vm::build(VmConfig { command_line: "a\nb".to_owned(), ..config() }).unwrap_err();

    assert!(matches!(error, Error::Config(_)));
}

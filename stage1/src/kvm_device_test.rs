use std::path::Path;

use super::kvm_device::*;

#[test]
fn missing_device_says_what_to_do() {
    let error = open(Path::new("/nonexistent/kvm")).unwrap_err().to_string();

    assert!(error.starts_with("/nonexistent/kvm does not exist"));
    assert!(error.contains("modprobe"));
    assert!(error.contains("firmware"));
}

#[test]
fn something_else_in_its_place_is_named() {
    let directory = tempfile::tempdir().unwrap();

    let error = open(directory.path()).unwrap_err();

    assert!(matches!(error, KvmError::Unusable { .. }));
}

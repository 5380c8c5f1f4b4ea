use std::path::Path;

use super::disks;

#[test]
fn a_file_system_without_a_disk_has_none() {
    assert!(disks::of([Path::new("/proc"), Path::new("/nowhere")]).is_empty());
}

#[test]
fn a_disk_is_named_as_a_whole() {
    for disk in disks::of([Path::new("/")]) {
        let path = format!("/sys/dev/block/{disk}");
        assert!(Path::new(&path).exists(), "{path}");
        assert!(!Path::new(&path).join("partition").exists(), "{path} is a part of a disk");
    }
}

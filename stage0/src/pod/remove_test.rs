//! What a guest leaves behind is removed, and nothing else.

use std::os::unix::fs::symlink;

use super::remove::remove_path;

#[test]
fn symlinks_are_removed_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (pod, outside) = (directory.path().join("pod"), directory.path().join("outside"));
    std::fs::create_dir_all(pod.join("deep")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "x").unwrap();
    symlink(&outside, pod.join("deep/link")).unwrap();
    symlink("nowhere", pod.join("dangling")).unwrap();

    remove_path(&pod).unwrap();

    assert!(!pod.exists());
    assert!(outside.join("precious").exists());
}

#[test]
fn a_symlink_in_place_of_the_pod_is_removed_and_its_target_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (pod, outside) = (directory.path().join("pod"), directory.path().join("outside"));
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, &pod).unwrap();

    remove_path(&pod).unwrap();

    assert!(outside.exists());
    assert!(pod.symlink_metadata().is_err());
}

#[test]
fn directories_nested_deeper_than_a_process_has_descriptors_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let pod = directory.path().join("pod");
    std::fs::create_dir(&pod).unwrap();
    let mut parent = super::lock::open_directory(&pod).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&parent, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        parent = rustix::fs::openat(&parent, "d", flags, rustix::fs::Mode::empty()).unwrap();
        rustix::fs::mkdirat(&parent, "sibling", rustix::fs::Mode::RWXU).unwrap();
    }

    remove_path(&pod).unwrap();

    assert!(!pod.exists());
}

#[test]
fn a_pod_that_is_gone_is_no_error() {
    let directory = tempfile::tempdir().unwrap();

    remove_path(&directory.path().join("pod")).unwrap();
    remove_path(&directory.path().join("neither/pod")).unwrap();
}

//! Volumes: host directories and files, read-write and read-only, and empty ones that apps share.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::pod::{INSPECT, Pod, fresh_path, said};

/// A directory on the host with the file `greeting` in it.
fn host_directory() -> PathBuf {
    let path = fresh_path("volume");
    fs::create_dir(&path).expect("creating");
    fs::write(path.join("greeting"), "from the host\n").expect("writing");
    path
}

#[test]
fn a_host_volume_is_read_and_written_by_the_app() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let steps = ["--", "read-file", "/mnt/greeting", "write-file", "/mnt/answer", "from the pod"];

    let output = Pod::start(&[&[&volume, INSPECT, "--mount=volume=v,target=/mnt"], &steps[..]].concat())
        .finish()
        .expect_code(0);

    assert_eq!(said(&output.stdout, "inspect")[0], "from the host");
    assert_eq!(fs::read_to_string(directory.join("answer")).expect("the app's file"), "from the pod");
}

#[test]
fn a_read_only_host_volume_cannot_be_written() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,readOnly=true,source={}", directory.display());
    let steps = ["--", "read-file", "/mnt/greeting", "write-file", "/mnt/answer", "from the pod"];

    let output =
        Pod::start(&[&[&volume, INSPECT, "--mount=volume=v,target=/mnt"], &steps[..]].concat()).finish();

    output.expect_code(120).expect_out("from the host").expect_err("Read-only file system");
    assert!(!directory.join("answer").exists());
}

#[test]
fn what_an_app_writes_as_a_user_belongs_to_that_user_on_the_host() {
    let directory = host_directory();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let flags = ["--mount=volume=v,target=/mnt", "--user=1234", "--group=4321"];

    Pod::start(&[&[&volume, INSPECT], &flags[..], &["--", "write-file", "/mnt/mine", "x"]].concat())
        .finish()
        .expect_code(0);

    let file = fs::metadata(directory.join("mine")).expect("the app's file");
    assert_eq!((file.uid(), file.gid()), (1234, 4321));
}

#[test]
fn a_file_can_be_a_volume() {
    let directory = host_directory();
    let volume = format!("--volume=v,kind=host,source={}", directory.join("greeting").display());
    let flags = ["--mount=volume=v,target=/etc/greeting", "--", "read-file", "/etc/greeting"];

    let output = Pod::start(&[&[&volume, INSPECT], &flags[..]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "inspect"), ["from the host"]);
}

#[test]
fn a_host_volume_whose_source_is_missing_is_named() {
    let arguments =
        ["--volume=v,kind=host,source=/no/such/directory", INSPECT, "--mount=volume=v,target=/mnt"];

    let output = Pod::start(&arguments).finish();

    output.expect_code(254).expect_err("/no/such/directory");
}

#[test]
fn an_empty_volume_is_shared_between_apps() {
    let writer = ["--name=writer", "--", "write-file", "/shared/word", "swordfish", "---"];
    let reader =
        ["--name=reader", "--", "await-file", "/shared/word", "sleep", "1", "read-file", "/shared/word"];
    let volume = ["--volume=v,kind=empty", "--mount=volume=v,target=/shared"];

    let output =
        Pod::start(&[&volume[..], &[INSPECT], &writer, &[INSPECT], &reader].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "reader"), ["swordfish"]);
}

#[test]
fn an_app_sees_what_another_one_changes_in_a_file_it_has_read() {
    let writer =
        ["--name=writer", "--", "write-file", "/shared/word", "old", "write-file", "/shared/written", "-"];
    let rewrite = ["await-file", "/shared/read", "write-file", "/shared/word", "swordfish"];
    let rewritten = ["write-file", "/shared/rewritten", "-", "---"];
    let reader = ["--name=reader", "--", "await-file", "/shared/written", "read-file", "/shared/word"];
    let reread =
        ["write-file", "/shared/read", "-", "await-file", "/shared/rewritten", "read-file", "/shared/word"];
    let apps = [&[INSPECT], &writer[..], &rewrite, &rewritten, &[INSPECT], &reader, &reread].concat();
    let volume = ["--volume=v,kind=empty", "--mount=volume=v,target=/shared"];

    let output = Pod::start(&[&volume[..], &apps].concat()).finish().expect_code(0);

    // What is read ends without a newline.
    assert_eq!(said(&output.stdout, "reader"), ["oldwrote /shared/read", "swordfish"]);
}

#[test]
fn an_empty_volume_has_the_mode_and_owner_it_was_given() {
    let volume =
        ["--volume=v,kind=empty,mode=0750,uid=1234,gid=4321", INSPECT, "--mount=volume=v,target=/mnt"];

    let output = Pod::start(&[&volume[..], &["--", "stat-file", "/mnt"]].concat()).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "inspect"), ["mode=40750 uid=1234 gid=4321"]);
}

#[test]
fn a_volume_stays_writable_under_a_read_only_root() {
    let flags =
        ["--readonly-rootfs=true", "--mount=volume=v,target=/data", "--", "write-file", "/data/x", "y"];

    let output = Pod::start(&[&["--volume=v,kind=empty", INSPECT], &flags[..]].concat()).finish();

    output.expect_code(0).expect_out("wrote /data/x");
}

#[test]
fn an_app_cannot_leave_its_root_through_a_symlink_in_a_volume() {
    let directory = host_directory();
    std::os::unix::fs::symlink("/etc/hostname", directory.join("way-out")).expect("linking");
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let flags = ["--mount=volume=v,target=/mnt", "--", "read-file", "/mnt/way-out"];

    let output = Pod::start(&[&[&volume, INSPECT], &flags[..]].concat()).finish();

    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    assert!(host.trim().is_empty() || !output.out().contains(host.trim()), "{output:?}");
}

//! Archives made to harm the host that extracts them. Extraction happens when an image is fetched or when its tree is
//! rendered for a pod; which of the two refuses is rkt's business, that nothing gets out is not.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use rkt_tests::aci::{self, Aci};
use rkt_tests::command::Finished;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, NAME, files_below, run_arguments, small_image};

/// Runs a pod of the image with the stub stage1.
#[track_caller]
fn run(rkt: &TestRkt, image: &Aci) -> Finished {
    image.write(&rkt.path("hostile.aci"));
    let output = rkt.run(run_arguments(&["./hostile.aci"]));
    assert!(!output.err().contains("panicked"), "{output:?}");
    output
}

/// Checks that the archive was refused because of the entry.
#[track_caller]
fn refused(rkt: &TestRkt, image: &Aci, entry: &str) {
    run(rkt, image).expect_code(RKT_FAILED).expect_err(entry);
    assert!(rkt.pods_in("run").is_empty(), "a pod of a refused image ran");
}

/// A file of an image's rendered tree.
fn rendered(rkt: &TestRkt, name: &str) -> PathBuf {
    let trees = fs::read_dir(rkt.data().join("cas/tree")).expect("a tree was rendered");
    trees
        .map(|tree| tree.expect("listing").path().join("rootfs").join(name))
        .find(|path| fs::symlink_metadata(path).is_ok())
        .unwrap_or_else(|| panic!("{name} is in no rendered tree"))
}

#[test]
fn an_entry_with_dot_dot_is_refused() {
    let rkt = publisher::rkt();
    let image = small_image().file("rootfs/../../../../../../../../../../tmp/rkt-escaped", 0o644, b"out");

    refused(&rkt, &image, "rkt-escaped");

    assert!(fs::symlink_metadata("/tmp/rkt-escaped").is_err());
    assert!(files_below(&rkt.data()).iter().all(|file| !file.ends_with("rkt-escaped")));
}

#[test]
fn an_absolute_entry_does_not_leave_the_tree() {
    let rkt = publisher::rkt();
    let outside = rkt.path("outside");

    run(&rkt, &small_image().file(outside.to_str().expect("a UTF-8 path"), 0o644, b"out"));

    assert!(fs::symlink_metadata(&outside).is_err());
}

#[test]
fn a_file_behind_an_absolute_symlink_does_not_leave_the_tree() {
    let rkt = publisher::rkt();
    let outside = rkt.path("outside");
    fs::create_dir(&outside).expect("creating");
    let image = small_image().symlink("rootfs/way-out", outside.to_str().expect("a UTF-8 path")).file(
        "rootfs/way-out/escaped",
        0o644,
        b"out",
    );

    refused(&rkt, &image, "way-out/escaped");

    assert_eq!(files_below(&outside), [] as [PathBuf; 0]);
}

#[test]
fn a_file_behind_a_relative_symlink_does_not_leave_the_tree() {
    let rkt = publisher::rkt();
    let image = small_image()
        .symlink("rootfs/up", "../../../../..")
        .symlink("rootfs/way-out", "up/tmp")
        .file("rootfs/way-out/rkt-escaped-by-link", 0o644, b"out");

    refused(&rkt, &image, "rkt-escaped-by-link");

    assert!(fs::symlink_metadata("/tmp/rkt-escaped-by-link").is_err());
}

#[test]
fn a_symlink_may_point_anywhere_as_long_as_nobody_follows_it() {
    let rkt = publisher::rkt();
    let image =
        small_image().symlink("rootfs/absolute", "/etc/passwd").symlink("rootfs/up", "../../../../etc");

    run(&rkt, &image).expect_code(0);

    assert_eq!(fs::read_link(rendered(&rkt, "absolute")).expect("a link"), PathBuf::from("/etc/passwd"));
    assert_eq!(fs::read_link(rendered(&rkt, "up")).expect("a link"), PathBuf::from("../../../../etc"));
}

#[test]
fn a_file_that_replaces_a_symlink_leaves_its_target_alone() {
    let rkt = publisher::rkt();
    let outside = rkt.path("precious");
    fs::write(&outside, "precious").expect("writing");
    let image = small_image().symlink("rootfs/name", outside.to_str().expect("a UTF-8 path")).file(
        "rootfs/name",
        0o644,
        b"overwritten",
    );

    run(&rkt, &image);

    assert_eq!(fs::read_to_string(&outside).expect("reading"), "precious");
}

#[test]
fn a_hard_link_to_a_file_outside_is_refused() {
    for target in ["/etc/hostname", "../../../../../../etc/hostname", "rootfs/../../../../../../etc/hostname"]
    {
        let rkt = publisher::rkt();
        let before = fs::metadata("/etc/hostname").map(|file| file.nlink()).unwrap_or_default();

        refused(&rkt, &small_image().hard_link("rootfs/stolen", target), "etc/hostname");

        assert_eq!(fs::metadata("/etc/hostname").map(|file| file.nlink()).unwrap_or_default(), before);
    }
}

#[test]
fn a_hard_link_through_a_symlink_is_refused() {
    let rkt = publisher::rkt();
    let outside = rkt.path("outside");
    fs::create_dir(&outside).expect("creating");
    fs::write(outside.join("secret"), "secret").expect("writing");
    let image = small_image()
        .symlink("rootfs/way-out", outside.to_str().expect("a UTF-8 path"))
        .hard_link("rootfs/stolen", "rootfs/way-out/secret");

    refused(&rkt, &image, "stolen");

    assert_eq!(fs::metadata(outside.join("secret")).expect("the file").nlink(), 1);
}

#[test]
fn a_hard_link_inside_the_image_is_one_file_with_two_names() {
    let rkt = publisher::rkt();

    run(&rkt, &small_image().hard_link("rootfs/second", "rootfs/app")).expect_code(0);

    let inode = |name| fs::metadata(rendered(&rkt, name)).expect("the file").ino();
    assert_eq!(inode("second"), inode("app"));
}

#[test]
fn a_device_node_is_kept_as_a_node() {
    let rkt = publisher::rkt();
    let image = small_image().directory("rootfs/dev", 0o755).character_device("rootfs/dev/nothing", 1, 3);

    run(&rkt, &image).expect_code(0);

    let node = fs::symlink_metadata(rendered(&rkt, "dev/nothing")).expect("the node");
    assert!(node.file_type().is_char_device());
    assert_eq!(node.rdev(), nix::sys::stat::makedev(1, 3));
}

#[test]
fn a_named_pipe_is_never_opened() {
    let rkt = publisher::rkt();

    // Opening it would wait for ever, and the time limit would end this test.
    run(&rkt, &small_image().fifo("rootfs/pipe")).expect_code(0);

    let pipe = fs::symlink_metadata(rendered(&rkt, "pipe")).expect("the pipe");
    assert!(pipe.file_type().is_fifo());
}

#[test]
fn a_hole_of_a_gigabyte_stays_a_hole() {
    const GIB: u64 = 1 << 30;
    let rkt = publisher::rkt();

    run(&rkt, &small_image().hole("rootfs/big", GIB)).expect_code(0);

    assert_eq!(fs::metadata(rendered(&rkt, "big")).expect("the file").len(), GIB);
    let used: u64 = files_below(&rkt.data())
        .iter()
        .filter_map(|file| fs::symlink_metadata(file).ok())
        .map(|file| file.blocks() * 512)
        .sum();
    assert!(used < 64 << 20, "the image occupies {used} bytes on the disk");
}

#[test]
fn a_name_of_5000_bytes_is_refused() {
    let rkt = publisher::rkt();
    let name = format!("rootfs/{}", "n".repeat(5000));

    refused(&rkt, &small_image().file(&name, 0o644, b""), "nnnnnnnnnn");
}

#[test]
fn a_path_of_5000_bytes_is_refused() {
    let rkt = publisher::rkt();
    let name = format!("rootfs{}", "/deep".repeat(1000));

    refused(&rkt, &small_image().file(&name, 0o644, b""), "deep");
}

#[test]
fn a_file_below_a_file_is_refused() {
    let rkt = publisher::rkt();
    let image = small_image().file("rootfs/name", 0o644, b"").file("rootfs/name/below", 0o644, b"");

    refused(&rkt, &image, "name/below");
}

#[test]
fn an_archive_that_ends_in_the_middle_of_a_file_is_refused() {
    let rkt = publisher::rkt();
    let mut tar = small_image().file("rootfs/large", 0o644, &[b'x'; 65536]).tar();
    tar.truncate(tar.len() - 40000);
    fs::write(rkt.path("cut.aci"), tar).expect("writing");

    let output = rkt.run(run_arguments(&["./cut.aci"]));

    output.expect_code(RKT_FAILED).expect_err("cut.aci");
}

#[test]
fn an_archive_without_a_manifest_is_refused() {
    let rkt = publisher::rkt();

    refused(&rkt, &Aci::empty().directory("rootfs", 0o755), "manifest");
}

#[test]
fn an_archive_without_a_root_file_system_is_refused() {
    let rkt = publisher::rkt();
    let manifest = serde_json::to_vec(&aci::manifest(NAME)).expect("JSON");

    refused(&rkt, &Aci::empty().file("manifest", 0o644, &manifest), "rootfs");
}

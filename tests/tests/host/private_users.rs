//! `--private-users`: pods whose files and processes have host users of their own.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rkt_tests::leaks;
use rkt_tests::rkt::RKT_FAILED;
use rkt_tests::stub_stage1::Stub;

use crate::publisher::{rkt_with_image, run_arguments};

#[test]
fn files_of_a_copied_pod_are_moved_into_its_range_and_stage1_is_told() {
    let rkt = rkt_with_image();
    let flags = ["--private-users", "--no-overlay", "--uuid-file-save=uuid", "./app.aci"];

    rkt.run(run_arguments(&flags)).expect_code(0);

    let pod = rkt.data().join("pods/run").join(rkt.uuid("uuid"));
    let range = fs::read_to_string(pod.join("private-users-prepared")).expect("the range");
    let arguments = fs::read_to_string(pod.join("stub-arguments")).expect("the stub wrote it");
    assert!(arguments.lines().any(|line| line == format!("--private-users={range}")), "{arguments}");
    let (shift, count) = range.split_once(':').expect("SHIFT:COUNT");
    let shift: u32 = shift.parse().expect("a number");
    assert!(shift > 0 && count == "65536", "{range}");
    for path in ["stage1/rootfs/init", "stage1/rootfs/opt/stage2/app/rootfs/app"] {
        let metadata = pod.join(path).metadata().expect("it was copied");
        assert_eq!((metadata.uid(), metadata.gid()), (shift, shift), "{path}");
    }
}

#[test]
fn a_prepared_pod_keeps_its_range() {
    let rkt = rkt_with_image();
    let prepare =
        ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "--private-users", "--no-overlay"];
    let uuid = rkt.run([&prepare[..], &["./app.aci"]].concat()).expect_code(0).out().trim().to_owned();

    rkt.run(["run-prepared", &uuid]).expect_code(0);

    let pod = rkt.data().join("pods/run").join(uuid);
    let range = fs::read_to_string(pod.join("private-users-prepared")).expect("the range");
    let arguments = fs::read_to_string(pod.join("stub-arguments")).expect("the stub wrote it");
    assert!(arguments.contains(&format!("--private-users={range}\n")), "{arguments}");
}

#[test]
fn overlays_cannot_be_moved_into_a_range() {
    let rkt = rkt_with_image();

    let output = rkt.run(run_arguments(&["--private-users", "./app.aci"]));

    output
        .expect_code(RKT_FAILED)
        .expect_err("cannot use both overlay and user namespace: not implemented yet. (Try --no-overlay)");
    assert!(rkt.pods_in("prepare").is_empty());
}

#[test]
fn a_stage1_that_always_has_users_of_its_own_takes_the_flag_with_overlay() {
    let rkt = rkt_with_image();
    let annotations = vec![("coreos.com/rkt/stage1/private-users", "always")];
    Stub { annotations, ..Stub::default() }.write(&rkt.path("own.aci"));
    let flags = ["--stage1-path=own.aci", "--private-users", "--uuid-file-save=uuid", "./app.aci"];

    rkt.run([&["run", "--insecure-options=image"], &flags[..]].concat()).expect_code(0);

    let pod = rkt.data().join("pods/run").join(rkt.uuid("uuid"));
    let arguments = fs::read_to_string(pod.join("stub-arguments")).expect("the stub wrote it");
    assert!(!arguments.contains("--private-users"), "{arguments}");
    assert!(pod.join("overlay-prepared").exists() && !pod.join("private-users-prepared").exists());
}

#[test]
fn a_stage1_that_mounts_the_overlays_of_apps_finds_their_trees_and_all_that_it_takes() {
    let rkt = rkt_with_image();
    let annotations = vec![("coreos.com/rkt/stage1/app-overlays", "stage1")];
    Stub { annotations, ..Stub::default() }.write(&rkt.path("own.aci"));
    let flags = ["--stage1-path=own.aci", "--uuid-file-save=uuid", "./app.aci"];

    rkt.run([&["run", "--insecure-options=image"], &flags[..]].concat()).expect_code(0);

    let pod = rkt.data().join("pods/run").join(rkt.uuid("uuid"));
    let tree = fs::read_to_string(pod.join("appsinfo/app/treeStoreID")).expect("an overlay");
    let root = pod.join("stage1/rootfs/opt/stage2/app/rootfs");
    let rendered = rkt.data().join("cas/tree").join(&tree).join("rootfs");
    let inode = |path: std::path::PathBuf| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    assert_eq!(inode(root.join("app")).expect("the tree"), inode(rendered.join("app")).expect("the tree"));
    let refused = fs::write(root.join("file"), "").expect_err("it is not for writing");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    for layer in ["upper", "work"] {
        let made =
            fs::read_dir(pod.join("overlay").join(&tree).join(layer).join("app")).expect("it was made");
        assert_eq!(made.count(), 0, "{layer}");
    }
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(leaks::mounts_below(&rkt.data()), Vec::<String>::new());
    assert!(rendered.join("app").exists());
}

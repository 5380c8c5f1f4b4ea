//! `rkt export`: an exited pod's app becomes an image again, with everything that it changed and nothing that was mounted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, mknod};
use rkt_tests::aci::{self, Aci};
use rkt_tests::leaks;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::held_pod::{directory, exited, release, rkt, start};
use crate::publisher::run_arguments;

const APP_ROOT: &str = "stage1/rootfs/opt/stage2/app/rootfs";

/// An image with a file to keep, one to remove and one to change.
fn image(rkt: &TestRkt) {
    let image = Aci::new(&aci::manifest("example.com/app")).directory("rootfs/etc", 0o755);
    image
        .file("rootfs/app", 0o755, b"#!/bin/sh\n")
        .file("rootfs/etc/kept", 0o640, b"kept")
        .file("rootfs/etc/removed", 0o644, b"removed")
        .write(&rkt.path("app.aci"));
}

/// What an app could have done.
fn change(root: &Path) {
    fs::remove_file(root.join("etc/removed")).expect("removing");
    fs::create_dir(root.join("data")).expect("a directory");
    fs::write(root.join("data/new"), "new").expect("writing");
    chown(root.join("data/new"), Some(1000), Some(1001)).expect("an owner");
    fs::set_permissions(root.join("data/new"), fs::Permissions::from_mode(0o4751)).expect("a mode");
    fs::hard_link(root.join("data/new"), root.join("data/same")).expect("a link");
    std::os::unix::fs::symlink("/etc/shadow", root.join("data/link")).expect("a link");
    nix::unistd::mkfifo(&root.join("data/fifo"), Mode::from_bits_truncate(0o600)).expect("a fifo");
    mknod(&root.join("data/socket"), SFlag::S_IFSOCK, Mode::from_bits_truncate(0o600), 0).expect("a socket");
}

/// Exports, fetches the result and extracts it.
fn exported(rkt: &TestRkt, uuid: &str, output: &str) -> PathBuf {
    rkt.run(["export", uuid, output]).expect_code(0);
    let id = rkt.run(["--insecure-options=image", "fetch", &format!("./{output}")]).expect_code(0).out();
    let target = rkt.path(&format!("{output}-files"));
    rkt.run(["image", "render", "--rootfs-only", id.trim(), target.to_str().expect("UTF-8")]).expect_code(0);
    target
}

#[track_caller]
fn expect_changed(root: &Path) {
    assert_eq!(fs::read_to_string(root.join("etc/kept")).expect("it is there"), "kept");
    assert!(!root.join("etc/removed").exists());
    let new = fs::metadata(root.join("data/new")).expect("it is there");
    assert_eq!((new.mode() & 0o7777, new.uid(), new.gid(), new.nlink()), (0o4751, 1000, 1001, 2));
    assert_eq!(fs::read_link(root.join("data/link")).expect("a link"), Path::new("/etc/shadow"));
    assert!(fs::symlink_metadata(root.join("data/fifo")).expect("it is there").file_type().is_fifo());
    assert!(!root.join("data/socket").exists());
}

fn mounts(rkt: &TestRkt) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let ours = rkt.directory().to_str().expect("UTF-8").to_owned();
    table.lines().filter(|line| line.contains(&ours)).map(str::to_owned).collect()
}

#[test]
fn an_exported_pod_is_an_image_with_what_the_app_changed_and_runs() {
    let rkt = rkt();
    image(&rkt);
    let uuid = exited(&rkt, &["./app.aci"]);
    change(&directory(&rkt, &uuid).join(APP_ROOT));
    let before = mounts(&rkt);

    let root = exported(&rkt, &uuid, "out.aci");

    expect_changed(&root);
    assert_eq!(mounts(&rkt), before);
    rkt.run(run_arguments(&["./out.aci"])).expect_code(0);
    assert_eq!(fs::read(rkt.path("out.aci")).expect("the image")[..2], [0x1f, 0x8b]);
}

#[test]
fn a_pod_is_exported_after_a_reboot_and_when_it_is_marked_for_collection() {
    let rkt = rkt();
    image(&rkt);
    let uuid = exited(&rkt, &["./app.aci"]);
    let pod = directory(&rkt, &uuid);
    change(&pod.join(APP_ROOT));
    for mounted in [APP_ROOT, "stage1/rootfs"] {
        umount2(&pod.join(mounted), MntFlags::empty()).expect("unmounting");
    }
    rkt.run(["gc", "--mark-only"]).expect_code(0);

    let root = exported(&rkt, &uuid, "out.aci");

    expect_changed(&root);
    assert_eq!(mounts(&rkt), Vec::<String>::new());
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn a_pod_without_overlay_is_exported_without_what_is_mounted_in_it() {
    let rkt = rkt();
    image(&rkt);
    let uuid = exited(&rkt, &["--no-overlay", "./app.aci"]);
    let root = directory(&rkt, &uuid).join(APP_ROOT);
    change(&root);
    let mounted = root.join("mounted");
    fs::create_dir(&mounted).expect("a directory");
    mount(Some("none"), &mounted, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mounting");
    fs::write(mounted.join("secret"), "of the host").expect("writing");

    let root = exported(&rkt, &uuid, "out.aci");

    expect_changed(&root);
    assert!(root.join("mounted").is_dir());
    assert!(!root.join("mounted/secret").exists());
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn owners_in_a_pods_own_range_are_exported_as_the_app_saw_them() {
    let rkt = rkt();
    image(&rkt);
    let uuid = exited(&rkt, &["--no-overlay", "./app.aci"]);
    let pod = directory(&rkt, &uuid);
    let root = pod.join(APP_ROOT);
    fs::write(pod.join("private-users-prepared"), "100000:65536").expect("writing");
    for (name, owner) in [("first", 100_000), ("thirty-third", 100_033), ("outside", 7)] {
        fs::write(root.join(name), "").expect("writing");
        chown(root.join(name), Some(owner), Some(owner)).expect("an owner");
    }

    rkt.run(["export", &uuid, "out.aci"]).expect_code(0);

    let list = Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(rkt.path("out.aci")).output();
    let list = String::from_utf8(list.expect("tar runs").stdout).expect("UTF-8");
    let owners: BTreeMap<&str, &str> = list
        .lines()
        .filter_map(|line| Some((line.split_whitespace().last()?, line.split_whitespace().nth(1)?)))
        .collect();
    assert_eq!(owners["rootfs/first"], "0/0");
    assert_eq!(owners["rootfs/thirty-third"], "33/33");
    assert_eq!(owners["rootfs/outside"], "7/7");
}

#[test]
fn export_wants_one_app_a_name_that_ends_in_aci_and_no_file_in_its_way() {
    let rkt = rkt();
    image(&rkt);
    let uuid = exited(&rkt, &["./app.aci", "--name=one", "./app.aci", "--name=two"]);
    fs::write(directory(&rkt, &uuid).join("stage1/rootfs/opt/stage2/two/rootfs/mark"), "").expect("writing");

    let unnamed = rkt.run(["export", &uuid, "out.aci"]).expect_code(RKT_FAILED);
    let unknown = rkt.run(["export", "--app=three", &uuid, "out.aci"]).expect_code(RKT_FAILED);
    let extension = rkt.run(["export", "--app=two", &uuid, "out.tar"]).expect_code(RKT_FAILED);
    fs::write(rkt.path("out.aci"), "mine").expect("writing");
    let taken = rkt.run(["export", "--app=two", &uuid, "out.aci"]).expect_code(RKT_FAILED);
    let untouched = fs::read_to_string(rkt.path("out.aci")).expect("it is there");
    rkt.run(["export", "--app=two", "--overwrite", &uuid, "out.aci"]).expect_code(0);

    unnamed
        .expect_err("export: pod contains multiple apps:\nexport: \tone\nexport: \ttwo\n")
        .expect_err("unable to find app: specify app using \"rkt export --app= ...\"");
    unknown.expect_err("unable to find app: app three is not present in pod");
    extension.expect_err("extension must be .aci (given out.tar)");
    taken.expect_err("target file exists (try --overwrite)");
    assert_eq!(untouched, "mine");
    let list = Command::new("tar").arg("-tzf").arg(rkt.path("out.aci")).output().expect("tar runs").stdout;
    assert!(String::from_utf8(list).expect("UTF-8").contains("rootfs/mark"));
}

#[test]
fn only_exited_pods_are_exported_and_a_failure_leaves_nothing_behind() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    let running = rkt.run(["export", &pod.uuid, "out.aci"]).expect_code(RKT_FAILED);
    let uuid = pod.uuid.clone();
    release(&rkt, pod);
    fs::write(directory(&rkt, &uuid).join("appsinfo/app/manifest"), "{").expect("writing");
    let damaged = rkt.run(["export", &uuid, "out.aci"]).expect_code(RKT_FAILED);

    running.expect_err("export: pod is not exited. Only exited pods can be exported");
    damaged.expect_err("unable to read Image Manifest");
    let left: Vec<_> = fs::read_dir(rkt.directory())
        .expect("listing")
        .map(|entry| entry.expect("listing").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("out.aci") || name.starts_with(".rkt-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(leaks::processes(&uuid).len(), 0);
}

//! Pods on a disk that is full, and after a reboot: what cannot be done says why, and whatever is left can be looked at and
//! collected.

use std::fs::{self, File};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rkt_tests::command::{self, limit};
use rkt_tests::faults::{self, Moment};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::{leaks, stub_stage1};

use crate::publisher::{self, NAME};

/// Where pods are.
const STAGES: [&str; 6] = ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"];

/// Collects whatever can be collected.
const GC: [&str; 3] = ["gc", "--grace-period=0s", "--expire-prepared=0s"];

const ROOM: usize = 64 << 20;

/// An rkt that can be killed, with a file system of its own for its data and both images in it.
fn rkt_with_images() -> TestRkt {
    let rkt = TestRkt::with_program(&faults::file("rkt"));
    let options = format!("size={ROOM},mode=0755");
    mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .expect("a tmpfs");
    stub_stage1::write(&rkt.path("stub.aci"));
    publisher::image(&rkt, "app.aci");
    rkt.run(["fetch", "--insecure-options=image", "./stub.aci", "./app.aci"]).expect_code(0);
    rkt
}

fn with_images(command: &str, further: &[&str]) -> Vec<String> {
    let stage1 = format!("--stage1-name={}:1.0.0", stub_stage1::NAME);
    let words = [&[command, "--insecure-options=image", &stage1], further, &[NAME]].concat();
    words.into_iter().map(str::to_owned).collect()
}

/// Takes all room on the disk but `left` bytes.
fn fill(rkt: &TestRkt, left: usize) {
    let statistics = nix::sys::statvfs::statvfs(&rkt.data()).expect("a file system");
    let free = statistics.blocks_available() * statistics.fragment_size();
    let file = File::create(rkt.path("data/filler")).expect("creating");
    let length = i64::try_from(free).expect("it is small") - i64::try_from(left).expect("it is small");
    if length > 0 {
        nix::fcntl::posix_fallocate(&file, 0, length).expect("there is room");
    }
}

#[track_caller]
fn expect_no_pods(rkt: &TestRkt) {
    for stage in STAGES {
        assert_eq!(rkt.pods_in(stage), Vec::<String>::new(), "in {stage}");
    }
    let left = leaks::below(&rkt.data().join("pods"));
    assert!(left.is_empty(), "left behind: {left:#?}");
}

#[test]
fn a_pod_for_which_the_disk_has_no_room_is_refused_with_the_reason_and_collected_from_the_full_disk() {
    let rkt = rkt_with_images();
    rkt.run(with_images("run", &["--uuid-file-save=exited"])).expect_code(0);
    let mut refusals = 0;
    for command in ["run", "prepare"] {
        for flags in [&[][..], &["--no-overlay"]] {
            for left in (0..96 << 10).step_by(16 << 10) {
                fill(&rkt, left);

                let output = rkt.run(with_images(command, flags));

                let says_why = output.err().contains("No space left on device");
                // What fails for the stub, its shell says in words of its own.
                let stub_failed = output.err().contains("stage1/rootfs/init");
                assert!(output.code() == 0 || says_why || stub_failed, "{output:?}");
                refusals += usize::from(output.code() == RKT_FAILED);
                rkt.run(["list"]).expect_code(0);
                rkt.run(["gc", "--mark-only"]).expect_code(0);
                rkt.run(GC).expect_code(0);
                expect_no_pods(&rkt);
                fs::remove_file(rkt.path("data/filler")).expect("removing");
            }
        }
    }
    assert!(refusals > 6, "the disk was never full: {refusals}");
}

#[test]
fn pods_of_every_state_are_shown_and_collected_after_a_reboot() {
    let rkt = rkt_with_images();
    let killed_at = |point: &str, words: Vec<String>| {
        let mut command = rkt.command(words);
        Moment { point: point.to_owned(), hit: 1 }.ends(&mut command);
        assert_eq!(command::run(&mut command, limit(20)).code(), 137, "{point}");
    };
    rkt.run(with_images("run", &["--uuid-file-save=deleted"])).expect_code(0);
    killed_at("delete.stage1.removed", vec!["rm".to_owned(), "--uuid-file=deleted".to_owned()]);
    rkt.run(with_images("run", &["--uuid-file-save=marked"])).expect_code(0);
    rkt.run(["gc", "--mark-only"]).expect_code(0);
    killed_at("pod.create.made", with_images("run", &[]));
    killed_at("pod.stage1.written", with_images("run", &[]));
    killed_at("run.app.mounted", with_images("run", &[]));
    rkt.run(with_images("prepare", &[])).expect_code(0);
    let mut failing = rkt.command(with_images("run", &["--uuid-file-save=exited"]));
    command::run(failing.env("STUB_APP_CODE", "3"), limit(20)).expect_code(3);

    let mut mounts = leaks::mounts_below(&rkt.data().join("pods"));
    mounts.sort_by_key(|point| std::cmp::Reverse(point.len()));
    assert!(mounts.len() >= 4, "{mounts:?}");
    mounts.iter().for_each(|point| umount2(point.as_str(), MntFlags::empty()).expect("unmounting"));

    let listed = rkt.run(["list", "--full", "--no-legend"]).expect_code(0);
    assert!(listed.err().is_empty(), "{listed:?}");
    for state in ["aborted prepare", "prepared", "exited", "exited garbage"] {
        assert!(listed.out().contains(state), "no pod is {state}: {listed:?}");
    }
    assert_eq!(rkt.status_value(&rkt.uuid("exited"), "app-app").as_deref(), Some("3"));
    assert_eq!(rkt.status_value(&rkt.uuid("marked"), "app-app").as_deref(), Some("0"));
    rkt.run(GC).expect_code(0);
    expect_no_pods(&rkt);
    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);
}

//! Fetches that are cut short (killed, out of space) or that compete: what stays in the store is whole, and the next
//! fetch works as if nothing had happened.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{self, limit};
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use sha2::{Digest, Sha256, Sha512};

use crate::publisher::{NAME, blobs, files_below, image_id};

const FETCH: [&str; 3] = ["--insecure-options=image", "fetch", "./app.aci"];
/// Moments at which a fetch is killed, evenly spread over the time that a whole one takes.
const KILLS: u32 = 32;
const MIB: usize = 1 << 20;

/// Bytes that compress badly, the same ones each time.
fn random(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// An image of several chunks.
fn image(bytes: usize) -> Aci {
    Aci::new(&aci::manifest(NAME)).file("rootfs/data", 0o644, &random(bytes))
}

fn rkt_with(image: &Aci) -> TestRkt {
    let rkt = TestRkt::new();
    image.write(&rkt.path("app.aci"));
    rkt
}

/// Checks that every image and every layer in the store has the hash that it is called by.
#[track_caller]
pub fn expect_whole_files(rkt: &TestRkt) {
    let digits = |hash: &[u8]| hash.iter().take(32).map(|byte| format!("{byte:02x}")).collect::<String>();
    for blob in blobs(rkt) {
        let hash = Sha512::digest(fs::read(&blob).expect("reading an image"));
        assert!(blob.ends_with(format!("sha512-{}", digits(&hash))), "{} is half an image", blob.display());
    }
    for layer in files_below(&rkt.data().join("cas/layer")) {
        let hash = Sha256::digest(fs::read(&layer).expect("reading a layer"));
        assert!(layer.ends_with(format!("sha256-{}", digits(&hash))), "{} is half a layer", layer.display());
    }
}

/// Checks that nothing is left of imports that came to nothing.
#[track_caller]
pub fn expect_no_unfinished_files(rkt: &TestRkt) {
    let left = files_below(&rkt.data().join("cas/tmp"));
    assert!(left.is_empty(), "unfinished files are left: {left:?}");
}

/// A fetch that must work, and leave nothing but the image.
#[track_caller]
fn expect_fetch(rkt: &TestRkt, image: &Aci) {
    rkt.run(FETCH).expect_code(0).expect_out(&image_id(image));
    expect_whole_files(rkt);
    assert_eq!(blobs(rkt).len(), 1);
    expect_no_unfinished_files(rkt);
}

/// Kills fetches of `image` at moments spread over the time that a whole one takes, each followed by one that must work.
fn kill_fetches(rkt: &TestRkt, image: &str) {
    let fetch = ["--insecure-options=image", "fetch", image];
    let expect_fetch = || {
        let id = rkt.run(fetch).expect_code(0).out();
        expect_whole_files(rkt);
        assert_eq!(blobs(rkt).len(), 1);
        expect_no_unfinished_files(rkt);
        id
    };
    let started = Instant::now();
    let id = expect_fetch();
    let whole = started.elapsed();

    for kill in 0..KILLS {
        // The first half of the kills at a store that is new each time, the other half at one that has the image.
        if kill < KILLS / 2 {
            fs::remove_dir_all(rkt.data()).expect("removing the store");
        }
        let mut killed = rkt.start(fetch);
        thread::sleep(whole * (kill % (KILLS / 2)) / (KILLS / 2));
        if !killed.has_ended() {
            killed.send_group(Signal::SIGKILL);
        }
        drop(killed.finish(limit(60)));
        expect_whole_files(rkt);

        assert_eq!(expect_fetch(), id, "after kill {kill}");
    }
}

#[test]
fn fetch_killed_at_any_moment_leaves_nothing_that_is_used_half_stored() {
    let rkt = rkt_with(&image(2 * MIB));
    kill_fetches(&rkt, "./app.aci");
}

#[test]
fn fetch_of_layers_killed_at_any_moment_leaves_nothing_that_is_used_half_stored() {
    let rkt = TestRkt::new();
    let layer = |name: &str, bytes| Layer::new(&Aci::empty().file(name, 0o644, &random(bytes)));
    let layout = Layout::of(&Image::new([layer("a", MIB), layer("b", 4096), layer("c", MIB)]));
    kill_fetches(&rkt, &layout.reference("latest"));
}

/// Mounts a file system of this size where the rkt keeps its data; unmounted when the rkt goes.
fn mount_data(rkt: &TestRkt, size: usize, flags: MsFlags) {
    let options = format!("size={size}");
    mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), flags, Some(options.as_str())).expect("a tmpfs");
}

#[test]
fn full_disk_fails_the_fetch_with_the_reason_and_leaves_nothing_of_it() {
    let image = image(2 * MIB);
    // In steps small enough to run out in every part: the image, its manifest, the database, the rendered tree.
    for (refusals, size) in (64 * 1024..16 * MIB).step_by(192 * 1024).enumerate() {
        let rkt = rkt_with(&image);
        mount_data(&rkt, size, MsFlags::empty());

        let output = rkt.run(FETCH);

        if output.code() == 0 {
            assert!(refusals > 10, "too few sizes were too small: {refusals}");
            return;
        }
        let output = output.expect_code(RKT_FAILED).expect_err("No space left on device");
        let names_file =
            [rkt.data().to_str().expect("a path"), "rootfs/data"].map(|name| output.err().contains(name));
        assert!(names_file.contains(&true), "no file is named: {output:?}");
        expect_whole_files(&rkt);
        expect_no_unfinished_files(&rkt);

        mount_data(&rkt, 64 * MIB, MsFlags::MS_REMOUNT);
        expect_fetch(&rkt, &image);
    }
    panic!("the image did not fit into 16 MiB");
}

#[test]
fn limit_on_file_sizes_counts_as_a_full_disk() {
    let image = image(4 * MIB);
    let rkt = rkt_with(&image);
    let fetch = rkt.command(FETCH);
    let mut limited = Command::new("sh");
    // Blocks of 512 bytes; without the trap the signal would end rkt first.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 6144; exec \"$0\" \"$@\""]).arg(fetch.get_program());
    limited.args(fetch.get_args()).current_dir(rkt.directory());

    let output = command::run(&mut limited, limit(60));

    output.expect_code(RKT_FAILED).expect_err("File too large");
    assert_eq!(blobs(&rkt), Vec::<std::path::PathBuf>::new());
    expect_no_unfinished_files(&rkt);
    expect_fetch(&rkt, &image);
}

#[test]
fn many_fetches_of_one_image_at_once_all_succeed_and_store_it_once() {
    let image = image(2 * MIB);
    let rkt = rkt_with(&image);
    for _ in 0..5 {
        let fetches: Vec<_> = (0..6).map(|_| rkt.start(FETCH)).collect();
        for fetch in fetches {
            fetch.finish(limit(60)).expect_code(0).expect_out(&image_id(&image));
        }
        expect_fetch(&rkt, &image);
        fs::remove_dir_all(rkt.data()).expect("removing the store");
    }
}

//! `rkt image gc` and `verify`: what nobody uses goes, what somebody uses stays, what was damaged is made whole.

use std::fs;
use std::path::PathBuf;

use rkt_tests::aci::Aci;
use rkt_tests::command::{Running, limit};
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::image_commands::{fetch, fetch_new, image_of, listed};
use crate::pods::{release, start_held};
use crate::publisher::{blobs, files_below, rkt_with_image, run_arguments};

/// The rendered trees in the store.
fn trees(rkt: &TestRkt) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(rkt.data().join("cas/tree")) else { return Vec::new() };
    entries.map(|entry| entry.expect("listing").path()).collect()
}

#[test]
fn gc_keeps_images_that_were_used_within_the_grace_period() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");

    rkt.run(["image", "gc"]).expect_code(0);
    rkt.run(["image", "gc", "--grace-period=1h"]).expect_code(0);

    assert_eq!(listed(&rkt, &[]), [id]);
}

#[test]
fn gc_removes_images_after_the_grace_period_and_says_which() {
    let rkt = TestRkt::new();
    let (one, other) = (fetch_new(&rkt, "example.com/a", "1"), fetch_new(&rkt, "example.com/b", "1"));

    let output = rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);

    for id in [one, other] {
        assert!(output.out().contains(&format!("successfully removed aci for image: {id:?}")), "{output:?}");
    }
    assert!(output.err().contains("gc: 2 image(s) successfully removed"), "{output:?}");
    assert_eq!(listed(&rkt, &[]), [] as [&str; 0]);
    assert_eq!(blobs(&rkt), [] as [PathBuf; 0]);
}

#[test]
fn gc_removes_trees_that_no_pod_uses() {
    let rkt = TestRkt::new();
    fetch_new(&rkt, "example.com/app", "1");
    let before = trees(&rkt);
    let size = |rkt: &TestRkt| {
        let listed =
            rkt.run(["image", "list", "--full", "--no-legend", "--fields=size"]).expect_code(0).out();
        listed.trim().parse::<u64>().expect("bytes")
    };
    let (rendered, image) = (size(&rkt), image_of("example.com/app", "1").tar().len() as u64);

    let output = rkt.run(["image", "gc"]).expect_code(0);

    assert_eq!(before.len(), 1);
    let name = before[0].file_name().expect("a name").to_string_lossy();
    assert!(output.err().contains(&format!("gc: removed treestore \"{name}\"")), "{output:?}");
    assert_eq!(trees(&rkt), [] as [PathBuf; 0]);
    assert!(rendered > image, "{rendered} {image}");
    assert_eq!(size(&rkt), image, "the tree counts no more");
}

#[test]
fn gc_keeps_what_a_running_pod_uses() {
    let mut rkt = rkt_with_image();
    let (pod, _) = start_held(&mut rkt);
    let before = trees(&rkt);

    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);

    assert_eq!(before.len(), 2, "stage1's and the app's");
    assert_eq!(trees(&rkt).len(), 2);
    let names = rkt.run(["image", "list", "--no-legend", "--fields=name"]).expect_code(0).out();
    assert!(names.contains("example.com/app:1.0.0"), "{names}");
    release(&rkt, pod);
}

#[test]
fn gc_keeps_the_trees_of_a_pod_that_ended_until_the_pod_is_removed() {
    let rkt = rkt_with_image();
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);

    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);
    let while_pod_is_there = trees(&rkt).len();
    rkt.run(["rm", &rkt.uuid("uuid")]).expect_code(0);
    rkt.run(["image", "gc"]).expect_code(0);

    assert_eq!(while_pod_is_there, 2);
    assert_eq!(trees(&rkt), [] as [PathBuf; 0]);
    rkt.expect_nothing_left();
}

#[test]
fn gc_removes_nothing_when_a_pod_cannot_be_read() {
    let rkt = rkt_with_image();
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);
    let uuid = rkt.uuid("uuid");
    let file = rkt.data().join("pods/run").join(&uuid).join("stage1TreeStoreID");
    let right = fs::read(&file).expect("reading");
    fs::write(&file, "damaged").expect("writing");

    let output = rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(RKT_FAILED);

    output.expect_err("gc: failed to remove unreferenced treestores");
    assert_eq!(trees(&rkt).len(), 2);
    fs::write(&file, right).expect("writing");
    rkt.run(["rm", &uuid]).expect_code(0);
}

#[test]
fn gc_removes_layers_that_no_image_uses() {
    let rkt = TestRkt::new();
    let layer = |name: &str| Layer::new(&Aci::empty().file(name, 0o644, name.as_bytes()));
    let mut layout = Layout::new();
    layout.add("one", &Image::new([layer("shared"), layer("one")]));
    layout.add("two", &Image::new([layer("shared"), layer("two")]));
    let one = fetch(&rkt, &layout.reference("one"));
    fetch(&rkt, &layout.reference("two"));
    let layers = || files_below(&rkt.data().join("cas/layer")).len();
    let before = layers();

    rkt.run(["image", "rm", &one]).expect_code(0);
    let without_one = layers();
    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);

    assert_eq!((before, without_one, layers()), (3, 2, 0));
}

#[test]
fn gc_leaves_pods_that_start_meanwhile_alone() {
    let rkt = rkt_with_image();
    rkt.run(run_arguments(&["./app.aci"])).expect_code(0);
    let pods: Vec<Running> = (0..4).map(|_| rkt.start(run_arguments(&["./app.aci"]))).collect();

    for _ in 0..6 {
        rkt.run(["image", "gc"]).expect_code(0);
    }

    for pod in pods {
        pod.finish(limit(60)).expect_code(0);
    }
}

#[test]
fn gc_and_fetch_of_one_image_at_once_leave_it_whole_or_gone() {
    let rkt = TestRkt::new();
    image_of("example.com/app", "1").write(&rkt.path("app.aci"));

    for _ in 0..8 {
        let fetches: Vec<Running> =
            (0..2).map(|_| rkt.start(["--insecure-options=image", "fetch", "./app.aci"])).collect();
        let gc = rkt.start(["image", "gc", "--grace-period=0s"]);
        gc.finish(limit(60)).expect_code(0);
        for fetch in fetches {
            let output = fetch.finish(limit(60));
            let gone = output.code() == RKT_FAILED && output.err().contains("is not in the store");
            assert!(output.code() == 0 || gone, "{output:?}");
        }
    }
    let id = fetch(&rkt, "./app.aci");

    rkt.run(["image", "export", &id, "out.aci"]).expect_code(0);
    assert_eq!(fs::read(rkt.path("out.aci")).expect("reading"), image_of("example.com/app", "1").tar());
}

#[test]
fn verify_says_when_a_tree_is_what_it_was() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");

    let output = rkt.run(["image", "verify", "example.com/app"]).expect_code(0);

    output.expect_out(&format!("successfully verified checksum for image: \"example.com/app\" ({id:?})\n"));
}

#[test]
fn verify_says_when_there_is_no_tree() {
    let rkt = TestRkt::new();
    fetch_new(&rkt, "example.com/app", "1");
    rkt.run(["image", "gc"]).expect_code(0);

    let output = rkt.run(["image", "verify", "example.com/app"]).expect_code(0);

    output.expect_out("image \"example.com/app\" not rendered; no verification needed\n");
}

#[test]
fn verify_renders_a_damaged_tree_anew() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");
    let app = trees(&rkt)[0].join("rootfs/app");
    fs::write(&app, "2").expect("damaging the tree");

    let output = rkt.run(["image", "verify", &id]).expect_code(0);

    let said = output.out();
    assert!(
        said.starts_with(&format!("tree cache verification failed for image {id}: wrong tree hash: ")),
        "{said}"
    );
    assert!(said.ends_with(";  rebuilding...\n"), "{said}");
    assert_eq!(fs::read(app).expect("reading"), b"1");
    rkt.run(["image", "verify", &id]).expect_code(0).expect_out("successfully verified checksum");
}

#[test]
fn render_does_not_copy_a_damaged_tree() {
    let rkt = TestRkt::new();
    let id = fetch_new(&rkt, "example.com/app", "1");
    fs::write(trees(&rkt)[0].join("rootfs/app"), "2").expect("damaging the tree");

    let output = rkt.run(["image", "render", "--rootfs-only", &id, "out"]).expect_code(0);

    output.expect_err("render: warning: tree cache is in a bad state. Rebuilding...");
    assert_eq!(fs::read(rkt.path("out/app")).expect("reading"), b"1");
}

#[test]
fn verify_does_not_take_a_tree_from_under_a_running_pod() {
    let mut rkt = rkt_with_image();
    let (pod, _) = start_held(&mut rkt);
    let app = trees(&rkt)
        .into_iter()
        .map(|tree| tree.join("rootfs/app"))
        .find(|path| path.exists())
        .expect("the app's tree");
    fs::write(&app, "damaged").expect("damaging the tree");

    let refused = rkt.run(["image", "verify", "example.com/app"]).expect_code(RKT_FAILED);

    refused.expect_err(&format!("pod {} is running on the tree", rkt.uuid("uuid")));
    assert_eq!(fs::read(&app).expect("reading"), b"damaged");
    release(&rkt, pod);
    rkt.run(["image", "verify", "example.com/app"]).expect_code(0);
    assert_eq!(fs::read(app).expect("reading"), b"#!/bin/sh\n");
}

#[test]
fn verify_goes_on_behind_an_image_that_is_not_there() {
    let rkt = TestRkt::new();
    fetch_new(&rkt, "example.com/app", "1");

    let output = rkt.run(["image", "verify", "example.com/other", "example.com/app"]);

    output
        .expect_code(RKT_FAILED)
        .expect_err("verify: unable to resolve store key for image example.com/other: ")
        .expect_out("successfully verified checksum for image: \"example.com/app\"");
    rkt.run(["image", "verify"]).expect_code(RKT_FAILED).expect_err("must provide at least one image ID");
}

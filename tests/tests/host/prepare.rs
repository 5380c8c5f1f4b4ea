//! `rkt prepare` and `rkt run-prepared`: pods that are made now and run later.

use std::fs;
use std::path::{Path, PathBuf};

use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::rkt_with_image;

/// `rkt prepare` with the stub stage1 and further arguments.
fn prepare_arguments<'a>(further: &[&'a str]) -> Vec<&'a str> {
    [&["prepare", "--insecure-options=image", "--stage1-path=stub.aci"], further].concat()
}

/// Prepares a pod and returns its UUID.
#[track_caller]
fn prepare(rkt: &TestRkt, further: &[&str]) -> String {
    let output = rkt.run(prepare_arguments(further)).expect_code(0).out();
    let uuid = output.trim_end().to_owned();
    assert_eq!(output, format!("{uuid}\n"), "prepare prints the UUID and nothing else");
    uuid
}

fn pod(rkt: &TestRkt, state: &str, uuid: &str) -> PathBuf {
    rkt.data().join("pods").join(state).join(uuid)
}

/// The arguments that stage1 was called with.
fn stage1_arguments(pod: &Path) -> Vec<String> {
    let text = fs::read_to_string(pod.join("stub-arguments")).expect("the stub wrote it");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn prepare_leaves_an_unlocked_prepared_pod_and_prints_its_uuid() {
    let rkt = rkt_with_image();

    let uuid = prepare(&rkt, &["./app.aci", "--name=web"]);
    let quiet = prepare(&rkt, &["--quiet", "./app.aci"]);

    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("prepared"));
    assert_eq!(rkt.pods_in("prepared").len(), 2);
    assert_eq!(quiet.len(), 36);
    let files = pod(&rkt, "prepared", &uuid);
    for file in
        ["pod", "pod-created", "pod.lck", "overlay-prepared", "stage1/manifest", "appsinfo/web/manifest"]
    {
        assert!(files.join(file).exists(), "{file}");
    }
    assert!(!files.join("pid").exists());
}

#[test]
fn run_prepared_hands_the_pod_to_stage1_as_run_does() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);

    let output = rkt.run(["run-prepared", "--net=none", "--hostname=box", &uuid[..8]]).expect_code(0);

    assert_eq!(output.out(), "stub: pod is up\n");
    let pod = pod(&rkt, "run", &uuid);
    let local_config = format!("--local-config={}", rkt.local_config().display());
    assert_eq!(stage1_arguments(&pod), ["--net=none", &local_config, "--hostname=box", &uuid]);
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("exited"));
    assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("0"));
}

#[test]
fn run_prepared_refuses_a_pod_that_ran_or_runs_at_once() {
    let mut rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);
    fs::write(rkt.path("hold"), "").expect("writing");
    let hold = rkt.path("hold");
    rkt.set_env("STUB_HOLD", hold);
    let mut first = rkt.start(["run-prepared", &uuid]);
    first.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let refusal = format!("pod \"{uuid}\" is not prepared");

    let while_it_runs = rkt.run(["run-prepared", &uuid]);
    fs::remove_file(rkt.path("hold")).expect("removing");
    first.finish(limit(60)).expect_code(0);
    let after_it_ran = rkt.run(["run-prepared", &uuid]);

    while_it_runs.expect_code(RKT_FAILED).expect_err(&refusal);
    after_it_ran.expect_code(RKT_FAILED).expect_err(&refusal);
}

#[test]
fn one_of_many_that_run_a_prepared_pod_at_once_succeeds() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);

    let all: Vec<Running> = (0..6).map(|_| rkt.start(["run-prepared", &uuid])).collect();
    let codes: Vec<i32> = all.into_iter().map(|one| one.finish(limit(60)).code()).collect();

    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == RKT_FAILED).count(), 5, "{codes:?}");
}

#[test]
fn run_prepared_takes_one_uuid_of_a_pod_that_exists() {
    let rkt = rkt_with_image();

    rkt.run(["run-prepared"]).expect_code(RKT_FAILED).expect_err("must provide exactly one UUID");
    rkt.run(["run-prepared", "a", "b"]).expect_code(RKT_FAILED);
    rkt.run(["run-prepared", "0000"]).expect_code(RKT_FAILED).expect_err("no matches found for \"0000\"");
}

#[test]
fn a_refused_run_leaves_the_pod_prepared() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci", "--name=one", "./app.aci", "--name=two"]);
    let refused = |flag: &str, message: &str| {
        rkt.run(["run-prepared", flag, &uuid]).expect_code(RKT_FAILED).expect_err(message);
    };

    refused("--interactive", "interactive option only supports pods with one app");
    refused("--dns=here", "Invalid IP passed to --dns: here");
    refused("--net=a,a", "found duplicate netname \"a\"");
    refused("--ipc=shared", "--ipc");

    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("prepared"));
    rkt.run(["run-prepared", &uuid]).expect_code(0);
}

#[test]
fn a_pod_whose_rendered_image_is_gone_says_so_and_stays_prepared() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);
    let tree =
        fs::read_to_string(pod(&rkt, "prepared", &uuid).join("appsinfo/app/treeStoreID")).expect("an ID");
    fs::remove_dir_all(rkt.data().join("cas/tree").join(tree)).expect("removing");

    let output = rkt.run(["run-prepared", &uuid]);

    output.expect_code(RKT_FAILED).expect_err("the rendered image of app \"app\" is gone from the store");
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("prepared"));
}

#[test]
fn image_gc_leaves_a_prepared_pod_runnable() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);

    rkt.run(["image", "gc", "--grace-period=0s"]).expect_code(0);

    rkt.run(["run-prepared", &uuid]).expect_code(0);
}

#[test]
fn a_pod_prepared_without_overlay_runs_without_the_store() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["--no-overlay", "./app.aci", "--name=one", "./app.aci", "--name=two"]);
    fs::remove_dir_all(rkt.data().join("cas/tree")).expect("removing");

    rkt.run(["run-prepared", &uuid]).expect_code(0);

    let stage2 = pod(&rkt, "run", &uuid).join("stage1/rootfs/opt/stage2");
    assert!(stage2.join("one/rootfs/app").exists() && stage2.join("two/rootfs/app").exists());
    assert_eq!(rkt.status_value(&uuid, "app-two").as_deref(), Some("0"));
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn apps_of_one_image_have_root_file_systems_of_their_own() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci", "--name=one", "./app.aci", "--name=two"]);
    rkt.run(["run-prepared", &uuid]).expect_code(0);
    let stage2 = pod(&rkt, "run", &uuid).join("stage1/rootfs/opt/stage2");

    fs::write(stage2.join("one/rootfs/written"), "").expect("writing");

    assert!(!stage2.join("two/rootfs/written").exists());
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn gc_collects_a_prepared_pod_that_nobody_ran() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);

    rkt.run(["gc"]).expect_code(0);
    assert_eq!(rkt.pods_in("prepared"), [uuid]);
    rkt.run(["gc", "--expire-prepared=0s"]).expect_code(0).expect_err("moving expired prepared pod");

    assert!(rkt.pods_in("prepared").is_empty());
    rkt.expect_nothing_left();
}

#[test]
fn rm_removes_a_prepared_pod() {
    let rkt = rkt_with_image();
    let uuid = prepare(&rkt, &["./app.aci"]);

    rkt.run(["rm", &uuid]).expect_code(0).expect_out(&uuid);

    assert!(rkt.pods_in("prepared").is_empty());
}

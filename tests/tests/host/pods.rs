//! Pods from `run` to `gc`, with a stage1 that only pretends: the stage1 ABI as rkt hands it over, states, locks, and
//! that nothing is left behind.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{rkt_with_image, run_arguments};

/// Starts a pod that runs until the file `hold` is removed; returns its UUID.
pub fn start_held(rkt: &mut TestRkt) -> (Running, String) {
    fs::write(rkt.path("hold"), "").expect("writing");
    let hold = rkt.path("hold");
    rkt.set_env("STUB_HOLD", hold);
    let mut pod = rkt.start(run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));
    pod.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let uuid = rkt.uuid("uuid");
    (pod, uuid)
}

/// Lets the held pod end.
pub fn release(rkt: &TestRkt, pod: Running) {
    fs::remove_file(rkt.path("hold")).expect("removing");
    pod.finish(limit(60)).expect_code(0);
}

/// Runs a pod to its end and returns its UUID.
fn run_once(rkt: &TestRkt) -> String {
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);
    rkt.uuid("uuid")
}

/// A pod's directory, whatever its state.
fn pod_directory(rkt: &TestRkt, uuid: &str) -> Option<PathBuf> {
    let states = fs::read_dir(rkt.data().join("pods")).expect("listing");
    states.map(|state| state.expect("listing").path().join(uuid)).find(|path| path.exists())
}

#[test]
fn run_hands_the_pod_to_stage1_as_the_abi_says() {
    let rkt = rkt_with_image();

    let uuid = run_once(&rkt);

    let pod = rkt.data().join("pods/run").join(&uuid);
    let read = |name: &str| fs::read_to_string(pod.join(name)).expect("the stub wrote it");
    let arguments = read("stub-arguments");
    let arguments: Vec<&str> = arguments.lines().collect();
    assert_eq!(arguments.first(), Some(&"--net=default"));
    assert_eq!(arguments.last(), Some(&uuid.as_str()));
    let local = format!("--local-config={}", rkt.local_config().display());
    assert!(arguments.contains(&local.as_str()), "{arguments:?}");
    assert_eq!(read("stub-directory").trim(), pod.to_str().expect("UTF-8"));
    assert!(read("stub-environment").contains("RKT_LOCK_FD="));
    assert!(pod.join("stage1/manifest").exists());
    assert!(pod.join("appsinfo/app/manifest").exists());
    assert!(pod.join("pod-created").exists());
}

#[test]
fn run_hands_flags_on_to_stage1() {
    let rkt = rkt_with_image();
    let flags = ["--net=none", "--hostname=box", "--uuid-file-save=uuid", "./app.aci"];

    rkt.run([&["--debug"], &run_arguments(&flags)[..]].concat()).expect_code(0);

    let uuid = rkt.uuid("uuid");
    let arguments = fs::read_to_string(rkt.data().join("pods/run").join(uuid).join("stub-arguments"));
    let arguments = arguments.expect("the stub wrote it");
    for expected in ["--debug", "--net=none", "--hostname=box"] {
        assert!(arguments.lines().any(|line| line == expected), "no {expected} in {arguments:?}");
    }
}

#[test]
fn run_ends_with_the_code_of_stage1() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_APP_CODE", "42");

    let output = rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));

    output.expect_code(42);
    let uuid = rkt.uuid("uuid");
    assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("42"));
}

#[test]
fn run_prints_nothing_of_its_own_on_stdout() {
    let rkt = rkt_with_image();

    let output = rkt.run(run_arguments(&["./app.aci"])).expect_code(0);

    assert_eq!(output.out(), "stub: pod is up\n");
}

#[test]
fn run_says_where_images_come_from_only_when_asked() {
    let rkt = rkt_with_image();

    let quiet = rkt.run(run_arguments(&["./app.aci"])).expect_code(0);
    let chatty = rkt.run([&["--debug"], &run_arguments(&["./app.aci"])[..]].concat()).expect_code(0);

    assert!(!quiet.err().contains("using image from"), "{quiet:?}");
    chatty.expect_err("using image from file");
}

#[test]
fn list_and_status_follow_a_pod_from_running_to_exited() {
    let mut rkt = rkt_with_image();
    let (pod, uuid) = start_held(&mut rkt);

    let list = rkt.run(["list"]).expect_code(0).out();
    let (header, row) = list.split_once('\n').expect("two lines");
    let columns: Vec<&str> = header.split_whitespace().collect();
    assert_eq!(columns, ["UUID", "APP", "IMAGE", "NAME", "STATE", "CREATED", "STARTED", "NETWORKS"]);
    assert!(row.starts_with(&uuid[..8]) && !row.starts_with(&uuid), "{row}");
    for part in ["app", "example.com/app:1.0.0", "running"] {
        assert!(row.contains(part), "no {part} in {row}");
    }
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("running"));
    assert_eq!(rkt.status_value(&uuid, "exited").as_deref(), Some("false"));
    assert_eq!(rkt.status_value(&uuid, "app-app"), None);
    assert_eq!(rkt.status_value(&uuid, "pid"), Some(pod.pid().to_string()));

    release(&rkt, pod);

    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("exited"));
    assert_eq!(rkt.status_value(&uuid, "exited").as_deref(), Some("true"));
    assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("0"));
    assert!(rkt.run(["list", "--full", "--no-legend"]).expect_code(0).out().starts_with(&uuid));
}

#[test]
fn status_finds_a_pod_by_the_beginning_of_its_uuid() {
    let rkt = rkt_with_image();
    let uuid = run_once(&rkt);

    assert_eq!(rkt.status_value(&uuid[..6], "state").as_deref(), Some("exited"));
    rkt.run(["status", "ffffffff-none"])
        .expect_code(RKT_FAILED)
        .expect_err(r#"no matches found for "ffffffff-none""#);
}

#[test]
fn status_waits_for_the_end() {
    let mut rkt = rkt_with_image();
    let (pod, uuid) = start_held(&mut rkt);
    rkt.run(["status", "--wait=200ms", &uuid]).expect_code(RKT_FAILED);
    let waiting = rkt.start(["status", "--wait", &uuid]);

    release(&rkt, pod);

    waiting.finish(limit(60)).expect_code(0).expect_out("state=exited");
}

#[test]
fn list_shows_each_app_of_a_pod_on_a_row_of_its_own() {
    let rkt = rkt_with_image();
    rkt.run(run_arguments(&["./app.aci", "--name=one", "./app.aci", "--name=two"])).expect_code(0);

    let list = rkt.run(["list", "--no-legend"]).expect_code(0).out();

    let rows: Vec<&str> = list.lines().collect();
    assert_eq!(rows.len(), 2, "{list}");
    assert!(rows[0].contains("one") && rows[1].contains("two"), "{list}");
    assert!(!rows[1].contains("exited"), "the second row repeats the pod's state: {list}");
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let rkt = rkt_with_image();

    let output = rkt.run(run_arguments(&["./app.aci", "./app.aci"]));

    output.expect_code(RKT_FAILED).expect_err("multiple apps with name app");
}

#[test]
fn rm_refuses_a_running_pod_and_removes_an_exited_one() {
    let mut rkt = rkt_with_image();
    let (pod, uuid) = start_held(&mut rkt);
    let refusal = rkt.run(["rm", &uuid]);
    refusal.expect_code(RKT_FAILED).expect_err(&format!("pod \"{uuid}\" is currently running"));
    release(&rkt, pod);

    let output = rkt.run(["rm", &uuid]);

    output.expect_code(0).expect_out(&format!("\"{uuid}\""));
    assert_eq!(pod_directory(&rkt, &uuid), None);
    rkt.expect_nothing_left();
}

#[test]
fn gc_marks_first_and_deletes_after_the_grace_period() {
    let mut rkt = rkt_with_image();
    let note = rkt.path("gc-note");
    rkt.set_env("STUB_GC_NOTE", &note);
    let uuid = run_once(&rkt);

    rkt.run(["gc"]).expect_code(0).expect_err(&format!("moving pod \"{uuid}\" to garbage"));
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("exited garbage"));
    rkt.run(["gc"]).expect_code(0).expect_err("still within grace period");
    assert!(pod_directory(&rkt, &uuid).is_some());

    let output = rkt.run(["gc", "--grace-period=0s"]).expect_code(0);

    output.expect_out(&format!("Garbage collecting pod \"{uuid}\""));
    assert_eq!(pod_directory(&rkt, &uuid), None);
    let arguments = fs::read_to_string(note).expect("stage1's gc ran");
    assert_eq!(arguments.lines().last(), Some(uuid.as_str()));
    rkt.expect_nothing_left();
}

#[test]
fn gc_leaves_a_running_pod_alone() {
    let mut rkt = rkt_with_image();
    let (pod, uuid) = start_held(&mut rkt);

    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);

    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("running"));
    release(&rkt, pod);
}

#[test]
fn gc_deletes_a_pod_whose_stage1_gc_fails() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_GC_CODE", "7");
    let uuid = run_once(&rkt);

    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);

    assert_eq!(pod_directory(&rkt, &uuid), None);
    rkt.expect_nothing_left();
}

#[test]
fn a_pod_whose_stage1_gc_is_killed_is_kept_for_the_next_gc() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_GC_KILLED", "1");
    let uuid = run_once(&rkt);

    rkt.run(["gc", "--grace-period=0s"]).expect_code(0).expect_err("stage1 gc was cut short");
    rkt.run(["rm", &uuid]).expect_code(254).expect_err("signal: 9");

    assert!(pod_directory(&rkt, &uuid).is_some());
    rkt.set_env("STUB_GC_KILLED", "");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(pod_directory(&rkt, &uuid), None);
    rkt.expect_nothing_left();
}

#[test]
fn a_pod_whose_control_groups_stage1_cannot_remove_is_kept_for_the_next_gc() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_GC_CODE", "254");
    let uuid = run_once(&rkt);
    fs::write(pod_directory(&rkt, &uuid).expect("it is there").join("cgroups"), "").expect("written");

    rkt.run(["rm", &uuid]).expect_code(254).expect_err("processes of the pod have not ended yet");

    assert!(pod_directory(&rkt, &uuid).is_some());
    rkt.set_env("STUB_GC_CODE", "0");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(pod_directory(&rkt, &uuid), None);
    rkt.expect_nothing_left();
}

#[test]
fn a_pod_whose_supervisor_is_killed_is_exited_and_can_be_removed() {
    let mut rkt = rkt_with_image();
    let (pod, uuid) = start_held(&mut rkt);

    pod.send_group(Signal::SIGKILL);
    pod.finish(limit(60)).expect_code(128 + 9);

    rkt.wait_for_state(&uuid, "exited");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(pod_directory(&rkt, &uuid), None);
    rkt.expect_nothing_left();
}

#[test]
fn what_an_app_writes_does_not_reach_the_image() {
    let rkt = rkt_with_image();
    let first = run_once(&rkt);
    let rootfs = rkt.data().join("pods/run").join(&first).join("stage1/rootfs/opt/stage2/app/rootfs");
    fs::write(rootfs.join("written"), "by the first pod").expect("the app's root file system is writable");

    let second = run_once(&rkt);

    let rootfs = rkt.data().join("pods/run").join(&second).join("stage1/rootfs/opt/stage2/app/rootfs");
    assert!(rootfs.join("app").exists());
    assert!(!rootfs.join("written").exists());
}

#[test]
fn pods_work_without_overlay() {
    let rkt = rkt_with_image();
    let uuid_file = "--uuid-file-save=uuid";

    rkt.run(run_arguments(&["--no-overlay", uuid_file, "./app.aci"])).expect_code(0);

    let uuid = rkt.uuid("uuid");
    assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("0"));
    rkt.run(["rm", &uuid]).expect_code(0);
    rkt.expect_nothing_left();
}

#[test]
fn an_unsigned_stage1_is_refused() {
    let rkt = rkt_with_image();
    rkt.run(["--insecure-options=image", "fetch", "./app.aci"]).expect_code(0);

    let output = rkt.run(["run", "--stage1-path=stub.aci", "example.com/app"]);

    output.expect_code(RKT_FAILED).expect_err("stub.aci.asc");
}

#[test]
fn an_image_in_the_store_is_run_by_name_and_by_id() {
    let rkt = rkt_with_image();
    let id = rkt.run(["--insecure-options=image", "fetch", "./app.aci"]).expect_code(0).out();

    rkt.run(run_arguments(&["example.com/app"])).expect_code(0);
    rkt.run(run_arguments(&[id.trim()])).expect_code(0);
}

#[test]
fn several_pods_start_at_once() {
    let rkt = rkt_with_image();
    let pods: Vec<Running> = (0..8).map(|_| rkt.start(run_arguments(&["./app.aci"]))).collect();

    for pod in pods {
        pod.finish(limit(60)).expect_code(0);
    }

    assert_eq!(rkt.pods_in("run").len(), 8);
}

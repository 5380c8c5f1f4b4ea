//! `rkt stop`: one pod or many, in order or by force, whatever their stage1 does.

use std::fs;

use rkt_tests::command::limit;
use rkt_tests::rkt::RKT_FAILED;
use rkt_tests::stub_stage1::Stub;

use crate::held_pod::{directory, note, release, rkt, rkt_with, start};

#[test]
fn stop_ends_every_pod_it_is_given_and_says_so_once() {
    let mut rkt = rkt();
    rkt.set_env("STUB_STOPPED_CODE", "3");
    let (one, two) = (start(&rkt, "one", &["./app.aci"]), start(&rkt, "two", &["./app.aci"]));

    let stopped = rkt.run(["stop", &one.uuid, &two.uuid[..8]]).expect_code(0);
    let again = rkt.run(["stop", &one.uuid]).expect_code(0);

    assert_eq!(stopped.out(), format!("\"{}\"\n\"{}\"\n", one.uuid, two.uuid));
    assert_eq!(again.out(), format!("pod \"{}\" is already stopped\n", one.uuid));
    assert_eq!(note(&rkt, &one.uuid, "stub-stop-arguments"), [one.uuid.as_str()]);
    let pod_directory = directory(&rkt, &one.uuid);
    let program = pod_directory.join("stage1/rootfs/stop");
    assert_eq!(note(&rkt, &one.uuid, "stub-stop-directory"), [pod_directory.to_str().expect("UTF-8")]);
    assert_eq!(note(&rkt, &one.uuid, "stub-stop-program"), [program.to_str().expect("UTF-8")]);
    assert_eq!(rkt.status_value(&one.uuid, "app-app").as_deref(), Some("3"));
    one.process.finish(limit(60)).expect_code(3);
    two.process.finish(limit(60)).expect_code(3);
}

#[test]
fn stop_returns_when_the_pod_is_down() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    rkt.run(["stop", "--uuid-file=uuid"]).expect_code(0).expect_out(&pod.uuid);

    assert_eq!(rkt.status_value(&pod.uuid, "state").as_deref(), Some("exited"));
    pod.process.finish(limit(60)).expect_code(0);
}

#[test]
fn stop_by_force_ends_a_pod_that_will_not_stop() {
    let mut rkt = rkt();
    rkt.set_env("STUB_IGNORE_STOP", "1");
    let pod = start(&rkt, "uuid", &["./app.aci"]);

    rkt.run(["stop", "--force", &pod.uuid]).expect_code(0).expect_out(&format!("\"{}\"", pod.uuid));

    assert_eq!(note(&rkt, &pod.uuid, "stub-stop-arguments"), ["--force", pod.uuid.as_str()]);
    assert_eq!(rkt.status_value(&pod.uuid, "state").as_deref(), Some("exited"));
    pod.process.finish(limit(60)).expect_code(128 + 9);
}

#[test]
fn stop_goes_on_behind_a_pod_that_it_cannot_stop_and_counts() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    let prepared = "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11";
    fs::create_dir_all(rkt.data().join("pods/prepared").join(prepared)).expect("a prepared pod");

    let output = rkt.run(["stop", "ffffffff", prepared, &pod.uuid]).expect_code(RKT_FAILED);

    assert_eq!(output.out(), format!("\"{}\"\n", pod.uuid));
    let expected = format!(
        "stop: cannot get pod: no matches found for \"ffffffff\"\nstop: pod \"{prepared}\" is not running\n\
         stop: failed to stop 2 pod(s)\n"
    );
    assert_eq!(output.err(), expected);
    pod.process.finish(limit(60)).expect_code(0);
}

#[test]
fn stop_reports_a_stage1_that_cannot_or_does_not() {
    let mut failing = rkt();
    failing.set_env("STUB_STOP_CODE", "5");
    let pod = start(&failing, "uuid", &["./app.aci"]);
    let lacking = rkt_with(&Stub::default().without("stop"));
    let other = start(&lacking, "uuid", &["./app.aci"]);

    let failed = failing.run(["stop", &pod.uuid]).expect_code(RKT_FAILED);
    let missing = lacking.run(["stop", &other.uuid]).expect_code(RKT_FAILED);

    failed.expect_err(&format!("stop: error stopping \"{}\": exit status 5", pod.uuid));
    let why = "rkt stop not implemented for pod's stage1: entrypoint \"stop\" not found";
    missing.expect_err(&format!("stop: error stopping \"{}\": {why}", other.uuid));
    release(&failing, pod);
    release(&lacking, other);
}

#[test]
fn stop_wants_uuids_or_a_file_that_can_be_read() {
    let rkt = rkt();

    rkt.run(["stop", "--uuid-file=missing"]).expect_code(1).expect_err("unable to resolve UUID from file");
    rkt.run(["stop"]).expect_code(RKT_FAILED);
    rkt.run(["stop", "--uuid-file=missing", "5bc080ca"]).expect_code(RKT_FAILED);
}

//! `rkt logs`: lines of files such as stage1 writes, whole, filtered, followed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rkt_tests::command::{Stream, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, run_arguments};

fn append(log: &Path, text: &str) {
    fs::create_dir_all(log.parent().expect("a directory")).expect("creating");
    let mut file = OpenOptions::new().append(true).create(true).open(log).expect("opening");
    file.write_all(text.as_bytes()).expect("writing");
}

/// An exited pod of the apps `one` and `two`, with logs; its UUID.
fn pod_with_logs(rkt: &TestRkt) -> String {
    publisher::image(rkt, "app.aci");
    let apps = ["--uuid-file-save=uuid", "./app.aci", "--name=one", "./app.aci", "--name=two"];
    rkt.run(run_arguments(&apps)).expect_code(0);
    let uuid = rkt.uuid("uuid");
    let logs = rkt.data().join("pods/run").join(&uuid).join("logs");
    append(&logs.join("one.log.1"), "2026-01-01T00:00:01.000000000Z stdout F first\n");
    append(
        &logs.join("one.log"),
        "2026-01-01T00:00:03.000000000Z stdout P third, \n2026-01-01T00:00:03.000000000Z stdout F joined\n",
    );
    append(&logs.join("two.log"), "2026-01-01T00:00:02.000000000Z stderr F second\n");
    uuid
}

#[test]
fn logs_of_all_apps_are_labelled_and_those_of_one_are_not() {
    let rkt = publisher::rkt();
    let uuid = pod_with_logs(&rkt);

    let all = rkt.run(["logs", &uuid]).expect_code(0);
    let one = rkt.run(["logs", "--app=one", "--uuid-file=uuid"]).expect_code(0);
    let missing = rkt.run(["logs", "--app=three", &uuid]);

    assert_eq!(
        (all.out().as_str(), all.err().as_str()),
        ("one: first\none: third, joined\n", "two: second\n")
    );
    assert_eq!((one.out().as_str(), one.err().as_str()), ("first\nthird, joined\n", ""));
    missing.expect_code(RKT_FAILED).expect_err("no app \"three\" in pod");
}

#[test]
fn logs_are_chosen_by_time_and_number_and_stay_after_gc_has_marked_the_pod() {
    let rkt = publisher::rkt();
    let uuid = pod_with_logs(&rkt);
    rkt.run(["gc", "--mark-only"]).expect_code(0);

    let since = rkt.run(["logs", "--since=2026-01-01T01:00:02+01:00", &uuid]).expect_code(0);
    let last = rkt.run(["logs", "--lines=1", &uuid]).expect_code(0);
    let recent = rkt.run(["logs", "--since=1s", &uuid]).expect_code(0);
    let unclear = rkt.run(["logs", "--since=soon", &uuid]);

    assert_eq!((since.out().as_str(), since.err().as_str()), ("one: third, joined\n", "two: second\n"));
    assert_eq!((last.out().as_str(), last.err().as_str()), ("one: third, joined\n", ""));
    assert_eq!((recent.out(), recent.err()), (String::new(), String::new()));
    unclear.expect_code(RKT_FAILED).expect_err("neither a time");
}

#[test]
fn a_pod_without_logs_is_an_error_that_says_why() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);
    let uuid = rkt.uuid("uuid");

    let output = rkt.run(["logs", &uuid]);

    output.expect_code(RKT_FAILED).expect_err(&format!("no logs in pod \"{uuid}\""));
}

#[test]
fn logs_are_followed_until_the_pod_ends() {
    let mut rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let hold = rkt.path("hold");
    fs::write(&hold, "").expect("writing");
    rkt.set_env("STUB_HOLD", &hold);
    let mut pod = rkt.start(run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));
    pod.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let uuid = rkt.uuid("uuid");
    let log = rkt.data().join("pods/run").join(&uuid).join("logs/app.log");
    let mut follower = rkt.start(["logs", "--follow", &uuid]);

    append(&log, "2026-01-01T00:00:01Z stdout F before\n");
    follower.wait_for(Stream::Out, "before\n", limit(60));
    fs::rename(&log, log.with_file_name("app.log.1")).expect("renaming");
    append(&log, "2026-01-01T00:00:02Z stdout F behind\n");
    follower.wait_for(Stream::Out, "behind\n", limit(60));
    append(&log, "2026-01-01T00:00:03Z stdout F last\n");
    fs::remove_file(&hold).expect("removing");
    pod.finish(limit(60)).expect_code(0);

    let output = follower.finish(limit(60)).expect_code(0);
    assert_eq!(output.out(), "before\nbehind\nlast\n");
}

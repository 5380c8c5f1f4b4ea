//! Per-app flags that end up in the pod manifest: isolators and users' notes, exactly as rkt writes them.

use std::fs;

use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::publisher::{self, NAME};

/// An rkt with `app.aci`, whose manifest has isolators and notes of its own.
fn rkt_with_image() -> TestRkt {
    let rkt = publisher::rkt();
    let mut manifest = aci::manifest(NAME);
    manifest["app"]["isolators"] = json!([
        { "name": "os/linux/capabilities-retain-set", "value": { "set": ["CAP_CHOWN"] } },
        { "name": "os/linux/seccomp-retain-set", "value": { "set": ["@appc.io/all"] } },
        { "name": "os/linux/cpu-shares", "value": 512 },
        { "name": "os/linux/oom-score-adj", "value": 1 },
    ]);
    manifest["app"]["userAnnotations"] = json!({ "from": "image" });
    manifest["app"]["userLabels"] = json!({ "from": "image" });
    Aci::new(&manifest).file("rootfs/app", 0o755, b"#!/bin/sh\n").write(&rkt.path("app.aci"));
    rkt
}

fn prepare_arguments<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"], flags].concat()
}

/// The app section of a pod prepared with these flags.
#[track_caller]
fn app(rkt: &TestRkt, flags: &[&str]) -> Value {
    let uuid = rkt.run(prepare_arguments(flags)).expect_code(0).out();
    let manifest =
        fs::read(rkt.data().join("pods/prepared").join(uuid.trim()).join("pod")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["apps"][0]["app"].clone()
}

#[test]
fn flags_take_the_place_of_the_images_isolators() {
    let rkt = rkt_with_image();
    let flags = [
        "--cpu-shares=2048",
        "--oom-score-adj=-500",
        "--caps-remove=CAP_MKNOD,CAP_NET_RAW",
        "--seccomp=mode=remove,errno=EPERM,mount,umount2",
    ];

    let app = app(&rkt, &flags);

    assert_eq!(
        app["isolators"],
        json!([
            { "name": "os/linux/cpu-shares", "value": 2048 },
            { "name": "os/linux/oom-score-adj", "value": -500 },
            { "name": "os/linux/capabilities-remove-set", "value": { "set": ["CAP_MKNOD", "CAP_NET_RAW"] } },
            { "name": "os/linux/seccomp-remove-set", "value": { "set": ["mount", "umount2"], "errno": "EPERM" } },
        ])
    );
}

#[test]
fn isolators_of_the_image_stay_where_no_flag_says_otherwise() {
    let rkt = rkt_with_image();

    let app = app(&rkt, &["--caps-retain", "CAP_KILL", "--memory=64M", "--cpu=500m"]);

    let names: Vec<&str> = app["isolators"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|isolator| isolator["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "os/linux/seccomp-retain-set",
            "os/linux/cpu-shares",
            "os/linux/oom-score-adj",
            "resource/memory",
            "resource/cpu",
            "os/linux/capabilities-retain-set",
        ]
    );
}

#[test]
fn deprecated_spellings_work_and_say_so() {
    let rkt = rkt_with_image();

    let retain = rkt.run(prepare_arguments(&["--cap-retain=CAP_KILL"])).expect_code(0);
    let remove = rkt.run(prepare_arguments(&["--cap-remove=CAP_KILL"])).expect_code(0);
    let help = rkt.run(["help", "prepare"]).expect_code(0).out();

    retain.expect_err("Flag --cap-retain has been deprecated, use --caps-retain instead");
    remove.expect_err("Flag --cap-remove has been deprecated, use --caps-remove instead");
    assert!(help.contains("--caps-retain") && !help.contains("--cap-retain"), "{help}");
}

#[test]
fn run_takes_the_same_flags() {
    let rkt = rkt_with_image();
    let apps = [
        &["--name=one", "--caps-retain=CAP_KILL", "--seccomp=mode=retain,@appc.io/all", "--cpu-shares=2"][..],
        &[
            "--name=two",
            "--caps-remove=CAP_KILL",
            "--oom-score-adj=7",
            "--user-annotation=a=1",
            "--user-label=b=2",
        ],
        &["--name=three", "--cap-retain=CAP_KILL"],
        &["--name=four", "--cap-remove=CAP_KILL"],
    ];
    let apps: Vec<&str> = apps.iter().flat_map(|flags| [&["./app.aci"], *flags].concat()).collect();

    rkt.run(publisher::run_arguments(&[&["--uuid-file-save=uuid"], &apps[..]].concat())).expect_code(0);

    let manifest =
        fs::read(rkt.data().join("pods/run").join(rkt.uuid("uuid")).join("pod")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let last = |app: usize| {
        let isolators = manifest["apps"][app]["app"]["isolators"].as_array().expect("a list");
        isolators.last().expect("an isolator")["name"].clone()
    };
    assert_eq!(last(0), "os/linux/seccomp-retain-set");
    assert_eq!(last(1), "os/linux/capabilities-remove-set");
    assert_eq!(last(2), "os/linux/capabilities-retain-set");
    assert_eq!(last(3), "os/linux/capabilities-remove-set");
    assert_eq!(manifest["apps"][1]["app"]["userLabels"], json!({ "b": "2" }));
}

#[test]
fn users_notes_replace_the_images_as_a_whole() {
    let rkt = rkt_with_image();
    let flags = ["--user-annotation=a=1", "--user-annotation=b=x=y", "--user-annotation=a=2"];

    let annotated = app(&rkt, &flags);
    let labelled = app(&rkt, &["--user-label=c=3"]);

    assert_eq!(annotated["userAnnotations"], json!({ "a": "2", "b": "x=y" }));
    assert_eq!(annotated["userLabels"], json!({ "from": "image" }));
    assert_eq!(labelled["userLabels"], json!({ "c": "3" }));
}

#[test]
fn flags_that_make_no_sense_are_refused_and_leave_nothing() {
    let rkt = rkt_with_image();
    let cases: [(&[&str], &str); 8] = [
        (
            &["--caps-retain=CAP_KILL", "--caps-remove=CAP_CHOWN"],
            "cannot use both --caps-retain and --caps-remove on the same image",
        ),
        (&["--caps-retain=kill"], "\"kill\" is not the name of a capability"),
        (&["--cpu-shares=1"], "os/linux/cpu-shares must be between 2 and 262144, got 1"),
        (&["--oom-score-adj=1001"], "os/linux/oom-score-adj must be between -1000 and 1000, got 1001"),
        (&["--seccomp=mode=kill,mount"], "invalid seccomp mode command-line override"),
        (&["--seccomp=mode=retain"], "set must be non-empty"),
        (&["--user-annotation=a"], "invalid format of --user-annotation flag \"a\""),
        (&["--user-label=a"], "invalid format of --user-label flag \"a\""),
    ];

    for (flags, message) in cases {
        rkt.run(prepare_arguments(flags)).expect_code(RKT_FAILED).expect_err(message);
    }
    rkt.run(["prepare", "--caps-remove=CAP_KILL", "./app.aci"])
        .expect_code(RKT_FAILED)
        .expect_err("caps-remove");
    assert!(rkt.pods_in("prepare").is_empty() && rkt.pods_in("prepared").is_empty());
}

//! The flags that size a pod's virtual machine: they become isolators of the pod, and what this host does not have is refused.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::app_commands::sandbox;
use crate::held_pod::{release, rkt};
use crate::publisher::{self, run_arguments};

const FLAGS: [&str; 2] = ["--vm-memory=768Mi", "--vm-cpus=1"];

fn expected() -> Value {
    let limit = |name: &str, value: &str| json!({ "name": name, "value": { "default": false, "request": value, "limit": value } });
    json!([limit("resource/memory", "768Mi"), limit("resource/cpu", "1")])
}

fn rkt_with_image() -> TestRkt {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    rkt
}

#[track_caller]
fn isolators(rkt: &TestRkt, uuid: &str) -> Value {
    let text = rkt.run(["cat-manifest", uuid]).expect_code(0).out();
    serde_json::from_str::<Value>(&text).expect("JSON")["isolators"].clone()
}

#[test]
fn a_prepared_pod_remembers_the_size_of_its_machine_and_runs_with_it() {
    let rkt = rkt_with_image();
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"];
    let run = [&["--uuid-file-save=uuid", "./app.aci"], &FLAGS[..1]].concat();

    let prepared = rkt.run([&prepare[..], &FLAGS].concat()).expect_code(0).out();
    let prepared = prepared.trim();
    assert_eq!(isolators(&rkt, prepared), expected());
    rkt.run(["run-prepared", prepared]).expect_code(0);
    assert_eq!(isolators(&rkt, prepared), expected());

    rkt.run(run_arguments(&run)).expect_code(0);
    assert_eq!(isolators(&rkt, &rkt.uuid("uuid")), json!([expected()[0]]));
}

#[test]
fn a_sandbox_has_the_size_that_it_was_given() {
    let rkt = rkt();

    let pod = sandbox(&rkt, &FLAGS);

    assert_eq!(isolators(&rkt, &pod.uuid), expected());
    release(&rkt, pod);
}

#[test]
fn sizes_that_make_no_sense_are_refused_before_there_is_a_pod() {
    let rkt = rkt_with_image();
    let cases = [
        ("--vm-memory=0", "isolator resource/memory of the pod has no usable limit"),
        ("--vm-memory=512m", "the pod's machine cannot have 1 bytes of memory: it needs 128 MiB"),
        ("--vm-memory=64Mi", "it needs 128 MiB"),
        ("--vm-memory=64Ti", "the pod's machine cannot have 67108864 MiB of memory: "),
        ("--vm-memory=9999999E", "isolator resource/memory of the pod has no usable limit"),
        ("--vm-memory=much", "invalid quantity \"much\""),
        ("--vm-cpus=0", "0"),
        ("--vm-cpus=100000", "the pod's machine cannot have 100000 CPUs: "),
        ("--vm-cpus=-1", "-1"),
        ("--vm-cpus=two", "two"),
    ];

    for (flag, message) in cases {
        rkt.run(run_arguments(&["./app.aci", flag])).expect_code(RKT_FAILED).expect_err(message);
    }
    rkt.run(["app", "sandbox", "--insecure-options=image", "--stage1-path=stub.aci", "--vm-cpus=100000"])
        .expect_code(1)
        .expect_err("the pod's machine cannot have 100000 CPUs");
    for state in ["prepare", "prepared", "run", "exited-garbage"] {
        assert!(rkt.pods_in(state).is_empty(), "a refused pod is in {state}");
    }
}

#[test]
fn a_pod_manifest_says_the_size_itself() {
    let rkt = rkt_with_image();
    let fetched = rkt.run(["--insecure-options=image", "fetch", "--full", "./app.aci"]).expect_code(0);
    let mut manifest = json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [{ "name": "one", "image": { "id": fetched.out().trim() } }],
        "isolators": [{ "name": "resource/cpu", "value": { "limit": "100000" } }],
    });
    let mut run = |flags: &[&str]| {
        fs::write(rkt.path("pod.json"), manifest.to_string()).expect("writing");
        let output = rkt.run(run_arguments(&[&["--pod-manifest=pod.json"], flags].concat()));
        manifest["isolators"] = json!([]);
        output
    };

    run(&[]).expect_code(RKT_FAILED).expect_err("the pod's machine cannot have 100000 CPUs: ");
    for flag in FLAGS {
        run(&[flag]).expect_code(RKT_FAILED).expect_err("conflicting flags set with --pod-manifest");
    }
    run(&[]).expect_code(0);
    assert_eq!(rkt.pods_in("run").len(), 1);
}

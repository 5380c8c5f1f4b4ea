//! What a pod counts, and what of that stage0 has a part in: asking stage1, and the pod's memory and phases in its status.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::stub_stage1::Stub;
use serde_json::Value;

use crate::held_pod::{directory, exited, release, rkt, rkt_with, start};

fn status(rkt: &TestRkt, uuid: &str) -> Value {
    let status = rkt.run(["status", "--format=json", uuid]).expect_code(0);
    serde_json::from_str(&status.out()).expect("JSON")
}

#[test]
fn stage1_prints_what_a_running_pod_counts() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    let path = directory(&rkt, &pod.uuid);

    let metrics = rkt.run(["status", "--metrics", &pod.uuid]).expect_code(0);
    assert_eq!(metrics.out(), format!("stub_metrics{{directory=\"{}\"}} 0\n", path.display()));

    fs::write(path.join("stub-metrics-code"), "7").expect("writing");
    let failed = rkt.run(["status", "--metrics", &pod.uuid]).expect_code(RKT_FAILED);
    failed.expect_err("cannot print metrics: exit status 7");
    release(&rkt, pod);
}

#[test]
fn only_a_running_pod_whose_stage1_can_tell_counts() {
    let old = rkt();
    let uuid = exited(&old, &["./app.aci"]);
    old.run(["status", "--metrics", &uuid]).expect_code(RKT_FAILED).expect_err("isn't currently running");

    let rkt = rkt_with(&Stub::default().without("metrics"));
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    let refused = rkt.run(["status", "--metrics", &pod.uuid]).expect_code(RKT_FAILED);
    refused.expect_err("the pod's stage1 does not tell what a pod counts: entrypoint \"metrics\" not found");
    release(&rkt, pod);
}

#[test]
fn the_status_of_a_running_pod_has_its_memory_and_its_phases() {
    let rkt = rkt();
    let pod = start(&rkt, "uuid", &["./app.aci"]);
    let before = status(&rkt, &pod.uuid);
    assert!(before["memory"]["pss"].as_u64().expect("bytes") > 0, "{before}");
    assert!(before["memory"]["processes"].as_u64().expect("a number") >= 1, "{before}");
    assert!(before.get("phases").is_none(), "{before}");

    let record = directory(&rkt, &pod.uuid).join("phases.json");
    fs::write(&record, "{\"stage1\":12,\"app\":3400}\n").expect("writing");
    assert_eq!(status(&rkt, &pod.uuid)["phases"], serde_json::json!({"stage1": 12, "app": 3400}));
    fs::write(&record, "no JSON").expect("writing");
    assert!(status(&rkt, &pod.uuid).get("phases").is_none());

    let uuid = pod.uuid.clone();
    release(&rkt, pod);
    assert!(status(&rkt, &uuid).get("memory").is_none());
}

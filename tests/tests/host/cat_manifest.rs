//! `rkt cat-manifest`: the whole manifest, pretty or not, of a pod in any state that has one.

use std::fs;

use rkt_tests::rkt::RKT_FAILED;
use serde_json::Value;

use crate::held_pod::{directory, exited, rkt};

#[test]
fn cat_manifest_shows_every_member_indented_with_tabs_or_on_one_line() {
    let rkt = rkt();
    let uuid = exited(&rkt, &["./app.aci"]);
    let file = directory(&rkt, &uuid).join("pod");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).expect("a manifest")).expect("JSON");
    manifest["com.example.unknown"] = Value::from(1);
    fs::write(&file, manifest.to_string()).expect("writing");

    let pretty = rkt.run(["cat-manifest", &uuid[..8]]).expect_code(0).out();
    let plain = rkt.run(["cat-manifest", "--pretty-print=false", "--uuid-file=uuid"]).expect_code(0).out();

    assert!(pretty.starts_with("{\n\t\"acVersion\": \""), "{pretty}");
    assert_eq!(plain.lines().count(), 1);
    for text in [pretty, plain] {
        let shown: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(shown, manifest);
    }
}

#[test]
fn cat_manifest_says_what_is_wrong_with_a_manifest_or_with_what_was_typed() {
    let rkt = rkt();
    let uuid = exited(&rkt, &["./app.aci"]);
    fs::write(directory(&rkt, &uuid).join("pod"), "{\"acVersion\":").expect("writing");

    rkt.run(["cat-manifest", &uuid]).expect_code(RKT_FAILED).expect_err("cannot read the pod manifest: EOF");
    rkt.run(["cat-manifest", "0"]).expect_code(RKT_FAILED);
    rkt.run(["cat-manifest"]).expect_code(RKT_FAILED);
    rkt.run(["cat-manifest", "--uuid-file=missing"])
        .expect_code(RKT_FAILED)
        .expect_err("unable to resolve UUID from file");
}

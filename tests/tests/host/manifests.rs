//! Image manifests that are wrong, and what a pod manifest says after preparation.

use std::fs;
use std::process::Command;

use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::RKT_FAILED;
use serde_json::{Value, json};

use crate::publisher::{self, NAME, run_arguments};

/// The message with which a pod of an image with this manifest is refused.
#[track_caller]
fn refusal(manifest: &Value) -> String {
    let rkt = publisher::rkt();
    Aci::new(manifest).file("rootfs/app", 0o755, b"#!/bin/sh\n").write(&rkt.path("wrong.aci"));
    let output = rkt.run(run_arguments(&["./wrong.aci"])).expect_code(RKT_FAILED);
    assert!(rkt.pods_in("run").is_empty(), "a pod of a refused image ran");
    output.err()
}

fn labels(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

#[test]
fn a_manifest_of_an_unknown_kind_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest["acKind"] = json!("RecipeManifest");

    let message = refusal(&manifest);

    assert!(message.contains("RecipeManifest"), "{message}");
}

#[test]
fn a_pod_manifest_is_no_image_manifest() {
    let mut manifest = aci::manifest(NAME);
    manifest["acKind"] = json!("PodManifest");

    let message = refusal(&manifest);

    assert!(message.contains("PodManifest"), "{message}");
}

#[test]
fn an_image_without_os_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest["labels"] = labels(&[("version", "1.0.0"), ("arch", "amd64")]);

    let message = refusal(&manifest);

    assert!(message.contains("missing os label in the image manifest"), "{message}");
}

#[test]
fn an_image_without_architecture_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest["labels"] = labels(&[("version", "1.0.0"), ("os", "linux")]);

    let message = refusal(&manifest);

    assert!(message.contains("missing arch label in the image manifest"), "{message}");
}

#[test]
fn an_image_for_another_system_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest["labels"] = labels(&[("version", "1.0.0"), ("os", "plan9"), ("arch", "amd64")]);

    let message = refusal(&manifest);

    assert!(message.contains(r#"bad os "plan9" (must be one of: [linux])"#), "{message}");
}

#[test]
fn an_image_for_another_architecture_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest["labels"] = labels(&[("version", "1.0.0"), ("os", "linux"), ("arch", "sparc")]);

    let message = refusal(&manifest);

    assert!(message.contains(r#"bad arch "sparc" for linux"#), "{message}");
}

#[test]
fn an_image_with_an_impossible_name_is_refused() {
    for name in ["", "Example.com/App", "example.com/app/../other", "example.com//app"] {
        let mut manifest = aci::manifest(NAME);
        manifest["name"] = json!(name);

        let message = refusal(&manifest);

        assert!(message.contains("name") || message.contains(name), "{name:?}: {message}");
    }
}

#[test]
fn an_image_without_a_name_is_refused() {
    let mut manifest = aci::manifest(NAME);
    manifest.as_object_mut().expect("an object").remove("name");

    let message = refusal(&manifest);

    assert!(message.contains("name"), "{message}");
}

#[test]
fn a_manifest_that_is_not_json_is_refused_with_its_place() {
    let rkt = publisher::rkt();
    let image =
        Aci::empty().file("manifest", 0o644, b"{\"acKind\": ImageManifest}").directory("rootfs", 0o755);
    image.write(&rkt.path("wrong.aci"));

    let output = rkt.run(run_arguments(&["./wrong.aci"])).expect_code(RKT_FAILED);

    output.expect_err("line 1");
}

#[test]
fn an_image_without_an_app_needs_exec() {
    let rkt = publisher::rkt();
    let mut manifest = aci::manifest(NAME);
    manifest.as_object_mut().expect("an object").remove("app");
    Aci::new(&manifest).file("rootfs/app", 0o755, b"").write(&rkt.path("bare.aci"));

    rkt.run(run_arguments(&["./bare.aci"]))
        .expect_code(RKT_FAILED)
        .expect_err("has no app section and --exec argument is not provided");
    rkt.run(run_arguments(&["./bare.aci", "--exec=/app"])).expect_code(0);
}

#[test]
fn the_pod_manifest_says_what_was_asked_for_and_actool_accepts_it() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let volume = "--volume=data,kind=host,source=/srv,readOnly=true";
    let app = ["./app.aci", "--name=first", "--mount=volume=data,target=/data", "--user=1000", "--group=100"];
    let rest = ["--readonly-rootfs=true", "--", "one", "two words", "---", "./app.aci", "--name=second"];
    let arguments = [&[volume, "--set-env=COLOUR=blue"], &app[..], &rest[..]].concat();

    rkt.run(run_arguments(&arguments)).expect_code(0);

    let pod = rkt.pods_in("run").pop().expect("a pod");
    let path = rkt.data().join("pods/run").join(pod).join("pod");
    let manifest: Value = serde_json::from_slice(&fs::read(&path).expect("reading")).expect("JSON");
    assert_eq!(manifest["acKind"], "PodManifest");
    let first = &manifest["apps"][0];
    assert_eq!(first["name"], "first");
    assert_eq!(first["image"]["name"], NAME);
    assert_eq!(first["readOnlyRootFS"], true);
    assert_eq!(first["app"]["exec"], json!(["/app", "one", "two words"]));
    assert_eq!((&first["app"]["user"], &first["app"]["group"]), (&json!("1000"), &json!("100")));
    assert_eq!(first["mounts"][0]["volume"], "data");
    assert_eq!(first["mounts"][0]["path"], "/data");
    let colour = json!({ "name": "COLOUR", "value": "blue" });
    assert!(first["app"]["environment"].as_array().expect("a list").contains(&colour));
    assert_eq!(manifest["apps"][1]["name"], "second");
    assert_eq!(manifest["volumes"][0]["source"], "/srv");
    assert_eq!(manifest["volumes"][0]["readOnly"], true);
    let verdict = Command::new("actool").arg("validate").arg(&path).output().expect("actool runs");
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
}

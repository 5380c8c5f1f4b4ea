//! `--pod-manifest`: kept byte for byte, and refused with a reason when it makes no sense.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::publisher::{self, run_arguments};

/// An rkt with `app.aci` in its store, and a manifest of a pod that runs it.
fn rkt_with_manifest() -> (TestRkt, Value) {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let fetched = rkt.run(["--insecure-options=image", "fetch", "--full", "./app.aci"]).expect_code(0);
    let id = fetched.out().trim().to_owned();
    let manifest = json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [{ "name": "one", "image": { "id": id } }],
        "volumes": [],
        "isolators": [{ "name": "resource/memory", "value": { "limit": "1G" } }],
        "annotations": [{ "name": "example.com/note", "value": "kept" }],
        "ports": [],
    });
    (rkt, manifest)
}

/// The message with which a pod of this manifest is refused.
#[track_caller]
fn refusal(rkt: &TestRkt, manifest: &Value) -> String {
    fs::write(rkt.path("pod.json"), manifest.to_string()).expect("writing");
    let output = rkt.run(run_arguments(&["--pod-manifest=pod.json"])).expect_code(RKT_FAILED);
    assert!(rkt.pods_in("run").is_empty(), "a pod of a refused manifest ran");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert!(rkt.pods_in("prepare").is_empty(), "gc left something");
    rkt.expect_nothing_left();
    output.err()
}

#[track_caller]
fn expect_refusal(rkt: &TestRkt, manifest: &Value, message: &str) {
    let said = refusal(rkt, manifest);
    assert!(said.contains(message), "no {message:?} in {said}");
}

#[test]
fn a_manifest_is_kept_byte_for_byte_by_run_and_prepare() {
    let (rkt, manifest) = rkt_with_manifest();
    let text = format!("{manifest:#}\n\n");
    fs::write(rkt.path("pod.json"), &text).expect("writing");
    let flags =
        ["--pod-manifest=pod.json", "--net=none", "--no-overlay", "--interactive", "--uuid-file-save=uuid"];
    let prepare =
        ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "--pod-manifest=pod.json"];

    rkt.run(run_arguments(&flags)).expect_code(0);
    let prepared = rkt.run(prepare).expect_code(0).out();

    let pods = rkt.data().join("pods");
    let read = |pod: &str| fs::read_to_string(pods.join(pod).join("pod")).expect("a manifest");
    assert_eq!(read(&format!("run/{}", rkt.uuid("uuid"))), text);
    assert_eq!(read(&format!("prepared/{}", prepared.trim())), text);
}

#[test]
fn flags_that_a_manifest_takes_the_place_of_are_refused() {
    let (rkt, manifest) = rkt_with_manifest();
    fs::write(rkt.path("pod.json"), manifest.to_string()).expect("writing");
    fs::write(rkt.path("env"), "A=b\n").expect("writing");
    let conflicts: [&[&str]; 9] = [
        &["./app.aci"],
        &["--volume=v,kind=empty"],
        &["--volume=v,kind=empty", "--mount=volume=v,target=/x"],
        &["--port=www:80"],
        &["--pull-policy=update"],
        &["--store-only"],
        &["--inherit-env"],
        &["--set-env=A=b"],
        &["--set-env-file=env"],
    ];

    for flags in conflicts {
        let output = rkt.run(run_arguments(&[&["--pod-manifest=pod.json"], flags].concat()));

        output.expect_code(RKT_FAILED).expect_err("conflicting flags set with --pod-manifest (see --help)");
    }
}

#[test]
fn names_that_are_paths_and_names_given_twice_are_refused() {
    let (rkt, manifest) = rkt_with_manifest();
    let mut path = manifest.clone();
    path["apps"][0]["name"] = json!("../../../../tmp/evil");
    let mut twice = manifest.clone();
    twice["apps"] = json!([manifest["apps"][0], manifest["apps"][0]]);
    let mut volume = manifest;
    volume["volumes"] = json!([{ "name": "../evil", "kind": "empty" }]);

    expect_refusal(&rkt, &path, "../../../../tmp/evil");
    expect_refusal(&rkt, &twice, "one");
    expect_refusal(&rkt, &volume, "../evil");
}

#[test]
fn volumes_must_be_declared_and_their_sources_be_there() {
    let (rkt, manifest) = rkt_with_manifest();
    let mut dangling = manifest.clone();
    dangling["apps"][0]["mounts"] = json!([{ "volume": "nothing", "path": "/data" }]);
    let mut missing = manifest.clone();
    missing["volumes"] = json!([{ "name": "data", "kind": "host", "source": "/no/such/place" }]);
    let mut relative = manifest.clone();
    relative["volumes"] = json!([{ "name": "data", "kind": "host", "source": "../place" }]);
    let mut own = manifest.clone();
    own["apps"][0]["mounts"] = json!([{
        "volume": "own", "path": "/data", "appVolume": { "name": "own", "kind": "host", "source": "../place" }
    }]);
    let mut twice = manifest;
    twice["volumes"] = json!([{ "name": "data", "kind": "empty" }, { "name": "data", "kind": "empty" }]);

    expect_refusal(&rkt, &dangling, r#"dangling mount point "/data": volume "nothing" not found"#);
    expect_refusal(&rkt, &missing, r#"volume "data": cannot find "/no/such/place""#);
    expect_refusal(&rkt, &relative, "source must be absolute path");
    expect_refusal(&rkt, &own, "source must be absolute path");
    expect_refusal(&rkt, &twice, r#"duplicate volume name "data""#);
}

#[test]
fn status_tells_an_apps_own_volume_from_one_of_the_hosts_with_its_name() {
    let (rkt, mut manifest) = rkt_with_manifest();
    let host = rkt.path("shared");
    fs::create_dir(&host).expect("a directory");
    manifest["volumes"] = json!([
        { "name": "data", "kind": "host", "source": host },
        { "name": "scratch", "kind": "empty" },
    ]);
    let own = |name: &str, path: &str| json!({ "volume": name, "path": path, "appVolume": { "name": name, "kind": "empty" } });
    manifest["apps"][0]["mounts"] =
        json!([{ "volume": "data", "path": "/pod" }, own("data", "/own"), own("scratch", "/scratch")]);
    fs::write(rkt.path("pod.json"), manifest.to_string()).expect("writing");
    let prepare = [
        "prepare",
        "--insecure-options=image",
        "--stage1-path=stub.aci",
        "--pod-manifest=pod.json",
        "--no-overlay",
    ];
    let uuid = rkt.run(prepare).expect_code(0).out().trim().to_owned();

    let status = rkt.run(["status", "--format=json", &uuid]).expect_code(0).out();

    let status: Value = serde_json::from_str(&status).expect("JSON");
    let paths: Vec<_> = status["apps"][0]["mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .map(|mount| mount["host_path"].as_str().expect("a path").to_owned())
        .collect();
    let volume = |name: &str| format!("/{uuid}/sharedVolumes/{name}");
    assert_eq!(paths[0], host.display().to_string());
    assert!(paths[1].ends_with(&volume("one.data")) && paths[2].ends_with(&volume("scratch")), "{paths:?}");
}

#[test]
fn ports_must_lead_to_a_port_of_an_app() {
    let (rkt, manifest) = rkt_with_manifest();
    let mut nowhere = manifest.clone();
    nowhere["ports"] = json!([{ "name": "www", "hostPort": 80 }]);
    let mut too_high = manifest;
    too_high["ports"] = json!([{ "name": "www", "hostPort": 70000 }]);

    expect_refusal(&rkt, &nowhere, r#"port name "www" could not be found in any apps"#);
    expect_refusal(&rkt, &too_high, "70000 is not a valid port number");
}

#[test]
fn images_must_be_in_the_store_and_apps_be_there() {
    let (rkt, manifest) = rkt_with_manifest();
    let mut unknown = manifest.clone();
    unknown["apps"][0]["image"]["id"] = json!(format!("sha512-{}", "0".repeat(64)));
    let mut none = manifest.clone();
    none["apps"] = json!([]);
    let mut kind = manifest;
    kind["acKind"] = json!("ImageManifest");

    expect_refusal(&rkt, &unknown, "error finding image sha512-0000");
    expect_refusal(&rkt, &none, "pod must contain at least one application");
    expect_refusal(&rkt, &kind, "PodManifest");
    let absent = rkt.run(run_arguments(&["--pod-manifest=absent.json"]));
    absent.expect_code(RKT_FAILED).expect_err("absent.json");
}

#[test]
fn interactive_is_for_a_manifest_with_one_app() {
    let (rkt, mut manifest) = rkt_with_manifest();
    let mut second = manifest["apps"][0].clone();
    second["name"] = json!("two");
    manifest["apps"].as_array_mut().expect("a list").push(second);
    fs::write(rkt.path("pod.json"), manifest.to_string()).expect("writing");

    let output = rkt.run(run_arguments(&["--interactive", "--pod-manifest=pod.json"]));

    output.expect_code(RKT_FAILED).expect_err("interactive option only supports pods with one app");
    assert!(rkt.pods_in("run").is_empty());
}

#[test]
fn event_handlers_have_names_that_rkt_knows() {
    let (rkt, mut manifest) = rkt_with_manifest();
    manifest["apps"][0]["app"] = json!({
        "exec": ["/app"], "user": "0", "group": "0",
        "eventHandlers": [{ "name": "on-fire", "exec": ["/bin/true"] }],
    });

    expect_refusal(&rkt, &manifest, "unrecognized eventHandler: on-fire");
}

//! `--port`: what the pod manifest says, and ports that lead nowhere or get into each other's way.

use std::fs;

use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use serde_json::{Value, json};

use crate::publisher::{self, NAME, run_arguments};

/// An rkt with `app.aci`, which listens on the ports `www` and `dns`.
fn rkt_with_image() -> TestRkt {
    let rkt = publisher::rkt();
    let mut manifest = aci::manifest(NAME);
    manifest["app"]["ports"] = json!([
        { "name": "www", "protocol": "tcp", "port": 80 },
        { "name": "dns", "protocol": "udp", "port": 53 },
    ]);
    Aci::new(&manifest).file("rootfs/app", 0o755, b"#!/bin/sh\n").write(&rkt.path("app.aci"));
    rkt
}

#[test]
fn ports_are_written_into_the_pod_manifest() {
    let rkt = rkt_with_image();
    let flags =
        ["--port=www:8080", "--port=dns:127.0.0.1:53", "--port=www:[fd00::1]:8443", "--uuid-file-save=uuid"];

    rkt.run(run_arguments(&[&flags[..], &["./app.aci"]].concat())).expect_code(0);

    let manifest = rkt.data().join("pods/run").join(rkt.uuid("uuid")).join("pod");
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).expect("a manifest")).expect("JSON");
    assert_eq!(
        manifest["ports"],
        json!([
            { "name": "www", "hostPort": 8080 },
            { "name": "dns", "hostPort": 53, "hostIP": "127.0.0.1" },
            { "name": "www", "hostPort": 8443, "hostIP": "fd00::1" },
        ])
    );
}

#[test]
fn ports_are_checked_when_the_pod_is_prepared() {
    let rkt = rkt_with_image();
    let cases: [(&[&str], &str); 6] = [
        (&["--port=ssh:22"], "port name \"ssh\" could not be found in any apps"),
        (
            &["--port=www:80", "--port=www:127.0.0.1:80"],
            "port tcp-127.0.0.1:80 already mapped to pod port 80",
        ),
        (&["--port=www"], "\"www\" is not in name:[ip:]port format"),
        (&["--port=WWW:80"], "\"WWW\" is not a valid port name"),
        (&["--port=www:localhost:80"], "\"localhost\" is not a valid IP"),
        (&["--port=www:70000"], "\"70000\" is not a valid port number"),
    ];
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci"];

    for (flags, message) in cases {
        let output = rkt.run([&prepare[..], flags, &["./app.aci"]].concat());

        output.expect_code(RKT_FAILED).expect_err(message);
    }
    let twice = ["--port=www:80", "./app.aci", "./app.aci", "--name=two"];
    rkt.run([&prepare[..], &twice].concat())
        .expect_code(RKT_FAILED)
        .expect_err("port name \"www\" defined multiple apps");
    assert!(rkt.pods_in("prepare").is_empty() && rkt.pods_in("prepared").is_empty());
}

#[test]
fn ports_need_a_network_of_the_pods_own() {
    let rkt = rkt_with_image();

    for network in ["none", "host"] {
        let net = format!("--net={network}");
        let output = rkt.run(run_arguments(&[&net, "--port=www:80", "./app.aci"]));

        let message = format!("--port flag does not work with '{network}' networking");
        output.expect_code(RKT_FAILED).expect_err(&message);
    }
}

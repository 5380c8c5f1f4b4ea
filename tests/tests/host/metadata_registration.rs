//! `--mds-register`: pods register with the metadata service when they start and are unregistered by gc.

use std::fs;

use rkt_tests::command::{self, Finished, Running, Stream, limit};
use rkt_tests::metadata_service::{MetadataService, with_run_rkt};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::app_commands::sandbox_arguments;
use crate::held_pod::{self, HeldPod, directory, release};
use crate::publisher::{NAME, rkt_with_image, run_arguments};

const UNREACHABLE: &str =
    "could not reach the metadata service.\nMake sure metadata service is currently running";

#[track_caller]
fn run(rkt: &TestRkt, service: &MetadataService, arguments: &[&str]) -> Finished {
    command::run(&mut service.seen_by(&rkt.command(arguments)), limit(60))
}

#[test]
fn a_pod_registers_with_its_apps_and_gc_unregisters_it() {
    let rkt = rkt_with_image();
    let service = MetadataService::start(&rkt.path("run-rkt"), "200 OK");

    run(&rkt, &service, &run_arguments(&["--mds-register", "--uuid-file-save=uuid", "./app.aci"]))
        .expect_code(0);

    let uuid = rkt.uuid("uuid");
    let pod = rkt.data().join("pods/run").join(&uuid);
    assert!(pod.join("mds-registered").exists());
    let arguments = fs::read_to_string(pod.join("stub-arguments")).expect("the stub wrote it");
    let token =
        arguments.lines().find_map(|line| line.strip_prefix("--mds-token=")).expect("a token").to_owned();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let requests = service.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(lines, [format!("PUT /pods/{uuid}?token={token}"), format!("PUT /pods/{uuid}/app")]);
    assert_eq!(requests[0].body, fs::read(pod.join("pod")).expect("the manifest"));
    assert_eq!(requests[1].body, fs::read(pod.join("appsinfo/app/manifest")).expect("the manifest"));

    run(&rkt, &service, &["gc", "--grace-period=0s"]).expect_code(0);

    let last = service.requests().pop().expect("a request").line;
    assert_eq!(last, format!("DELETE /pods/{uuid}"));
    assert!(rkt.pods_in("exited-garbage").is_empty());
}

#[test]
fn a_prepared_pod_stays_prepared_while_nobody_takes_registrations() {
    let rkt = rkt_with_image();
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"];
    let uuid = rkt.run(prepare).expect_code(0).out().trim().to_owned();
    let nobody = rkt.path("nobody");
    fs::create_dir(&nobody).expect("a directory");
    let command = rkt.command(["run-prepared", "--mds-register", &uuid]);

    let output = command::run(&mut with_run_rkt(&nobody, &command), limit(60));

    output.expect_code(RKT_FAILED).expect_err(&format!("run-prepared: {UNREACHABLE}"));
    assert_eq!(rkt.status_value(&uuid, "state").as_deref(), Some("prepared"));
    let service = MetadataService::start(&rkt.path("run-rkt"), "200 OK");
    run(&rkt, &service, &["run-prepared", "--mds-register", &uuid]).expect_code(0);
}

#[test]
fn run_asks_for_the_service_before_it_does_anything() {
    let rkt = rkt_with_image();
    let nobody = rkt.path("nobody");
    fs::create_dir(&nobody).expect("a directory");
    let command = rkt.command(run_arguments(&["--mds-register", "./app.aci"]));

    let output = command::run(&mut with_run_rkt(&nobody, &command), limit(60));

    output.expect_code(RKT_FAILED).expect_err(UNREACHABLE);
    assert!(rkt.pods_in("prepare").is_empty() && rkt.pods_in("run").is_empty());
}

#[test]
fn a_service_that_refuses_keeps_the_pod_from_running() {
    let rkt = rkt_with_image();
    let service = MetadataService::start(&rkt.path("run-rkt"), "400 Bad Request");

    let output = run(&rkt, &service, &run_arguments(&["--mds-register", "./app.aci"]));

    output
        .expect_code(RKT_FAILED)
        .expect_err("failed to register the pod: the metadata service answered \"HTTP/1.1 400 Bad Request\"");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert!(rkt.pods_in("run").is_empty() && rkt.pods_in("exited-garbage").is_empty());
}

#[test]
fn a_pod_without_a_network_registers_too() {
    let rkt = rkt_with_image();
    let service = MetadataService::start(&rkt.path("run-rkt"), "200 OK");

    run(&rkt, &service, &run_arguments(&["--mds-register", "--net=none", "./app.aci"])).expect_code(0);

    assert_eq!(service.requests().len(), 2);
}

#[test]
fn a_sandbox_registers_and_so_do_apps_that_are_added_until_they_are_removed() {
    let rkt = held_pod::rkt();
    rkt.run(["fetch", "--insecure-options=image", "./app.aci"]).expect_code(0);
    let service = MetadataService::start(&rkt.path("run-rkt"), "200 OK");
    // What is mounted for the one command is not seen by the next.
    let flags = ["--mds-register", "--no-overlay", "--uuid-file-save=sandbox"];
    let mut process = Running::start(&mut service.seen_by(&rkt.command(sandbox_arguments(&flags))));
    process.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let pod = HeldPod { process, uuid: rkt.uuid("sandbox") };
    let path = directory(&rkt, &pod.uuid);
    let before = service.requests();
    assert!(before.len() == 1 && before[0].line.contains("?token="), "{before:?}");

    run(&rkt, &service, &["app", "add", &pod.uuid, NAME, "--name=late"]).expect_code(0);
    let with_app = fs::read(path.join("pod")).expect("the manifest");
    let image = fs::read(path.join("appsinfo/late/manifest")).expect("the manifest");
    run(&rkt, &service, &["app", "rm", &pod.uuid, "--app=late"]).expect_code(0);
    let without = fs::read(path.join("pod")).expect("the manifest");

    let requests: Vec<(String, Vec<u8>)> =
        service.requests().into_iter().skip(1).map(|request| (request.line, request.body)).collect();
    let of_pod = format!("PUT /pods/{}", pod.uuid);
    let expected = [(of_pod.clone(), with_app), (format!("{of_pod}/late"), image), (of_pod, without)];
    assert_eq!(requests, expected);
    release(&rkt, pod);
}

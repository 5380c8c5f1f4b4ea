//! `--hypervisor-options`: what stage1 is told, and what is wrong before there is a pod.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::app_commands::sandbox;
use crate::held_pod::release;
use crate::publisher::{rkt_with_image, run_arguments};

fn told(rkt: &TestRkt, uuid: &str) -> Vec<String> {
    let arguments = rkt.data().join("pods/run").join(uuid).join("stub-arguments");
    let arguments = fs::read_to_string(arguments).expect("arguments");
    arguments.lines().filter(|line| line.contains("hypervisor")).map(str::to_owned).collect()
}

#[test]
fn every_command_that_starts_pods_tells_stage1_what_the_hypervisor_is_to_do() {
    let rkt = rkt_with_image();
    let run = |flags: &[&str]| {
        let fixed = ["--no-overlay", "--uuid-file-save=uuid"];
        rkt.run(run_arguments(&[&fixed[..], flags, &["./app.aci"]].concat())).expect_code(0);
        told(&rkt, &rkt.uuid("uuid"))
    };
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"];
    let prepared = rkt.run(prepare).expect_code(0).out().trim().to_owned();

    assert!(run(&[]).is_empty());
    let rates =
        ["--hypervisor-options=net-rx-bytes=10M,net-rx-packets=5k", "--hypervisor-options=net-tx-bytes=1Mi"];
    assert_eq!(
        run(&rates),
        ["--hypervisor-options=net-rx-bytes=10000000,net-rx-packets=5000,net-tx-bytes=1048576"]
    );
    rkt.run(["run-prepared", "--hypervisor-options=vhost-net", &prepared]).expect_code(0);
    assert_eq!(told(&rkt, &prepared), ["--hypervisor-options=vhost-net"]);
    let pod = sandbox(&rkt, &["--hypervisor-options=net-tx-packets=7"]);
    assert_eq!(told(&rkt, &pod.uuid), ["--hypervisor-options=net-tx-packets=7"]);
    release(&rkt, pod);
}

#[test]
fn what_cannot_be_is_said_before_there_is_a_pod() {
    let rkt = rkt_with_image();

    for (flags, message) in [
        (vec!["--hypervisor-options=turbo"], "unknown option \"turbo\""),
        (vec!["--hypervisor-options=net-rx-bytes=0"], "0 a second is not within 1 and 1000000000000"),
        (
            vec!["--hypervisor-options=vhost-net,net-rx-bytes=1M"],
            "net-rx-bytes is not possible with vhost-net",
        ),
        (vec!["--hypervisor-options=vhost-net", "--egress=deny"], "vhost-net is not possible with --egress"),
    ] {
        let output = rkt.run(run_arguments(&[&flags[..], &["./app.aci"]].concat()));

        output.expect_code(RKT_FAILED).expect_err(message);
    }
    assert!(rkt.pods_in("run").is_empty() && rkt.pods_in("prepare").is_empty());
}

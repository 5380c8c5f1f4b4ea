//! `--egress`: what stage1 is told, and what is wrong before there is a pod.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::app_commands::sandbox;
use crate::publisher::{rkt_with_image, run_arguments};

/// What stage1 was told about whom the pod may call.
fn told(rkt: &TestRkt, uuid: &str) -> Vec<String> {
    let arguments = rkt.data().join("pods/run").join(uuid).join("stub-arguments");
    let arguments = fs::read_to_string(arguments).expect("arguments");
    arguments.lines().filter(|line| line.contains("egress")).map(str::to_owned).collect()
}

fn hosts(rkt: &TestRkt, uuid: &str) -> Option<String> {
    let root = rkt.data().join("pods/run").join(uuid).join("stage1/rootfs");
    fs::read_to_string(root.join("etc/rkt-hosts")).ok()
}

#[test]
fn stage1_is_told_whom_the_pod_may_call_when_something_was_said() {
    let rkt = rkt_with_image();
    let run = |flags: &[&str]| {
        let fixed = ["--no-overlay", "--uuid-file-save=uuid"];
        rkt.run(run_arguments(&[&fixed[..], flags, &["./app.aci"]].concat())).expect_code(0);
        rkt.uuid("uuid")
    };

    assert!(told(&rkt, &run(&[])).is_empty());
    assert_eq!(told(&rkt, &run(&["--egress=deny"])), ["--egress=deny"]);
    let some = run(&["--egress=allow:10.1.2.3/8:443,udp:[fd00::1]:53", "--egress=allow:tcp:192.0.2.1:1-9"]);
    assert_eq!(
        told(&rkt, &some),
        ["--egress=allow:10.0.0.0/8:443,udp:[fd00::1]/128:53,tcp:192.0.2.1/32:1-9"]
    );
    assert_eq!(hosts(&rkt, &some), None);
}

#[test]
fn names_are_looked_up_once_and_the_pod_finds_the_same_addresses() {
    let rkt = rkt_with_image();
    let flags = [
        "--no-overlay",
        "--uuid-file-save=uuid",
        "--hosts-entry=192.0.2.7=mirror",
        "--egress=allow:tcp:localhost:443",
        "./app.aci",
    ];

    rkt.run(run_arguments(&flags)).expect_code(0);

    let uuid = rkt.uuid("uuid");
    let told = told(&rkt, &uuid);
    assert!(told.len() == 1 && told[0].contains("tcp:127.0.0.1/32:443"), "{told:?}");
    let hosts = hosts(&rkt, &uuid).expect("rkt-hosts");
    assert!(hosts.contains("192.0.2.7 mirror\n") && hosts.contains("127.0.0.1 localhost\n"), "{hosts}");
}

#[test]
fn every_command_that_starts_pods_takes_it() {
    let rkt = rkt_with_image();
    let prepare = ["prepare", "--insecure-options=image", "--stage1-path=stub.aci", "./app.aci"];
    let uuid = rkt.run(prepare).expect_code(0).out().trim().to_owned();

    rkt.run(["run-prepared", "--egress=deny", &uuid]).expect_code(0);

    assert_eq!(told(&rkt, &uuid), ["--egress=deny"]);
    let pod = sandbox(&rkt, &["--egress=allow:192.0.2.1"]);
    assert_eq!(told(&rkt, &pod.uuid), ["--egress=allow:192.0.2.1/32"]);
}

#[test]
fn what_cannot_be_is_said_before_there_is_a_pod() {
    let rkt = rkt_with_image();
    let many: Vec<String> = (0..65).map(|number| format!("10.0.{number}.1")).collect();
    let many = format!("--egress=allow:{}", many.join(","));

    for (flags, message) in [
        (vec!["--egress=none"], "\"none\" is neither \"deny\" nor \"allow:\" and destinations"),
        (vec!["--egress=allow:10.0.0.1:http"], "\"10.0.0.1:http\" is not in"),
        (vec!["--egress=allow:no-such-host.invalid"], "--egress: cannot look up \"no-such-host.invalid\""),
        (vec!["--egress=allow:localhost", "--hosts-entry=host"], "which --hosts-entry=host does not allow"),
        (vec![many.as_str()], "--egress allows 65 destinations, at most 64 are possible"),
    ] {
        let output = rkt.run(run_arguments(&[&flags[..], &["./app.aci"]].concat()));

        output.expect_code(RKT_FAILED).expect_err(message);
    }
    assert!(rkt.pods_in("run").is_empty() && rkt.pods_in("prepare").is_empty());
}

//! A pod's life: who stops whom, what signals to rkt do, what `list`, `status`, `rm` and `gc` say meanwhile.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rkt_tests::command::{Stream, limit};
use rkt_tests::leaks;

use crate::pod::{INSPECT, Pod, brief, rkt, said};

/// An app that says `ready`, waits for SIGTERM and ends in order.
const PATIENT: [&str; 7] = ["catch", "TERM", "print-msg", "ready", "await", "TERM", "print-msg"];

#[test]
fn the_first_failing_app_stops_the_pod_and_gives_its_code() {
    let patient = [&[INSPECT, "--name=patient", "--"], &PATIENT[..], &["bye", "---"]].concat();
    let failing = [INSPECT, "--name=failing", "--", "sleep", "2", "exit", "7"];
    let mut pod = Pod::start(&[&patient[..], &failing[..]].concat());

    let output = pod.finish().expect_code(7);

    assert_eq!(said(&output.stdout, "patient"), ["ready", "got SIGTERM", "bye"]);
    assert_eq!(pod.status_value(&pod.uuid, "app-failing").as_deref(), Some("7"));
    assert_eq!(pod.status_value(&pod.uuid, "app-patient").as_deref(), Some("0"));
}

#[test]
fn an_app_that_ends_well_leaves_the_others_running() {
    let short = [INSPECT, "--name=short", "--", "exit", "0", "---"];
    let long = [INSPECT, "--name=long", "--", "sleep", "3", "print-msg", "still here", "exit", "5"];

    let output = Pod::start(&[&short[..], &long[..]].concat()).finish().expect_code(5);

    assert_eq!(said(&output.stdout, "long"), ["still here"]);
}

#[test]
fn ctrl_c_and_sigterm_stop_the_apps_in_order() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut pod = Pod::inspect(&[&PATIENT[..], &["bye", "exit", "0"]].concat());
        pod.wait_for("ready");

        // A terminal signals the whole foreground process group.
        pod.running().send_group(signal);

        let output = pod.finish().expect_code(0);
        assert_eq!(said(&output.stdout, "inspect"), ["ready", "got SIGTERM", "bye"], "{signal}");
        pod.wait_for_state(&pod.uuid, "exited");
    }
}

#[test]
fn a_hang_up_that_comes_with_sigterm_does_not_count_as_a_second_request() {
    let mut pod = Pod::inspect(&[&PATIENT[..], &["bye", "exit", "0"]].concat());
    pod.wait_for("ready");

    // Both wait until it goes on, and are read in the order of their numbers: the hang-up first.
    for signal in [Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        pod.running().send(signal);
    }

    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "inspect"), ["ready", "got SIGTERM", "bye"]);
}

#[test]
fn an_app_that_ignores_sigterm_is_killed_after_the_grace_period() {
    // An immutable pod and one app of a mutable one, at the same time: it takes 90 s.
    let steps = ["ignore", "TERM", "print-msg", "ready", "sleep", "100000"];
    let mut pod = Pod::inspect(&steps);
    let mut sandbox = Pod::sandbox();
    for name in ["stubborn", "neighbour"] {
        let add = ["app", "add", &sandbox.uuid, INSPECT, &format!("--name={name}"), "--"];
        rkt().run([&add[..], &steps].concat()).expect_code(0);
        rkt().run(["app", "start", &sandbox.uuid, &format!("--app={name}")]).expect_code(0);
    }
    pod.wait_for("ready");
    sandbox.wait_for("ready");
    let asked = Instant::now();

    pod.running().send(Signal::SIGTERM);
    let stop = rkt().start(["app", "stop", &sandbox.uuid, "--app=stubborn"]);

    let patience = Duration::from_secs(280);
    let output = pod.finish_within(patience);
    assert_eq!(output.code(), 9, "{output:?}");
    stop.finish(patience).expect_code(0);
    assert!(asked.elapsed().as_secs() >= 60, "killed without grace after {:?}", asked.elapsed());
    assert_eq!(pod.status_value(&pod.uuid, "app-inspect").as_deref(), Some("9"));
    let of = |name: &str| {
        rkt().run(["app", "status", &sandbox.uuid, &format!("--app={name}")]).expect_code(0).out()
    };
    assert!(of("stubborn").contains("exit_code=9"), "{}", of("stubborn"));
    assert!(of("neighbour").contains("state=running"), "{}", of("neighbour"));
    rkt().run(["stop", "--force", &sandbox.uuid]).expect_code(0);
    sandbox.finish();
}

#[test]
fn list_and_status_show_the_pod_while_it_runs_and_after() {
    let mut pod = Pod::inspect(&[&PATIENT[..], &["bye", "exit", "3"]].concat());
    pod.wait_for("ready");

    let list = pod.run(["list", "--full", "--no-legend"]).expect_code(0).out();
    let row = list.lines().find(|line| line.starts_with(&pod.uuid)).expect("the pod is listed").to_owned();
    assert!(row.contains("running") && row.contains("example.com/inspect"), "{row}");
    let supervisor = pod.running().pid().to_string();
    assert_eq!(pod.status_value(&pod.uuid, "state").as_deref(), Some("running"));
    assert_eq!(pod.status_value(&pod.uuid, "pid"), Some(supervisor));
    pod.run(["status", "--wait-ready=60s", &pod.uuid]).expect_code(0);
    let refusal = pod.run(["rm", &pod.uuid]);
    refusal.expect_code(254).expect_err("is currently running");

    pod.running().send(Signal::SIGTERM);
    pod.finish().expect_code(3);

    assert_eq!(pod.status_value(&pod.uuid, "state").as_deref(), Some("exited"));
    assert_eq!(pod.status_value(&pod.uuid, "app-inspect").as_deref(), Some("3"));
}

#[test]
fn a_removed_pod_leaves_nothing_behind() {
    let links = leaks::links();
    let mut pod = Pod::inspect(&["print-msg", "hello"]);
    pod.finish().expect_code(0);

    pod.run(["rm", &pod.uuid]).expect_code(0).expect_out(&pod.uuid);

    pod.expect_nothing_left();
    assert_eq!(leaks::links(), links);
    assert!(!pod.data().join("pods/run").join(&pod.uuid).exists());
}

#[test]
fn no_process_of_the_pod_outlives_rkt_run() {
    let mut pod = Pod::inspect(&["print-msg", "hello"]);

    pod.finish().expect_code(0);

    // The VMM may still be letting go of its memory when rkt has its exit code.
    let deadline = Instant::now() + brief();
    while !leaks::processes(&pod.uuid).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", leaks::processes(&pod.uuid));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn several_pods_run_at_once() {
    let mut pods: Vec<Pod> = (0..3)
        .map(|index| Pod::inspect(&[&PATIENT[..], &["bye", "exit", &(10 + index).to_string()]].concat()))
        .collect();
    for pod in &mut pods {
        pod.running().wait_for(Stream::Out, "ready", limit(60));
    }

    for pod in &mut pods {
        pod.running().send(Signal::SIGTERM);
    }

    for (index, pod) in (0..).zip(&mut pods) {
        pod.finish().expect_code(10 + index);
    }
}

#[test]
fn processes_that_an_app_leaves_behind_do_not_keep_the_pod() {
    let script = "sleep 100000 & echo started";

    Pod::start(&["example.com/busybox", "--", "-c", script]).finish().expect_code(0).expect_out("started");
}

#[test]
fn an_unknown_network_is_refused_by_name() {
    let output = rkt().run(["--insecure-options=image", "run", "--net=blue", INSPECT]);

    output.expect_code(254).expect_err("blue");
}

#[test]
fn the_hosts_network_is_refused() {
    let output = rkt().run(["--insecure-options=image", "run", "--net=host", INSPECT]);

    output.expect_code(254).expect_err("flavor kvm requires private network configuration (try --net)");
}

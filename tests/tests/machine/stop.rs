//! `rkt stop`: in order, by force, and when the pod is not to be spoken to.

use nix::sys::signal::Signal;
use rkt_tests::command::limit;

use crate::pod::{Pod, brief, rkt, said};

#[test]
fn stop_returns_when_the_apps_have_ended_in_order_and_their_codes_survive() {
    let mut pod = Pod::inspect(&[
        "catch",
        "TERM",
        "print-msg",
        "ready",
        "await",
        "TERM",
        "print-msg",
        "bye",
        "exit",
        "3",
    ]);
    pod.wait_for("ready");

    let output = rkt().run(["stop", &pod.uuid]).expect_code(0);

    assert_eq!(output.out(), format!("\"{}\"\n", pod.uuid));
    assert!(pod.running().has_ended(), "stop returned before the pod had ended");
    let run = pod.finish().expect_code(3);
    assert_eq!(said(&run.stdout, "inspect"), ["ready", "got SIGTERM", "bye"]);
    assert_eq!(pod.status_value(&pod.uuid, "app-inspect").as_deref(), Some("3"));
    rkt().run(["stop", &pod.uuid]).expect_code(0).expect_out("is already stopped");
}

#[test]
fn force_ends_a_stop_that_waits_for_an_app_and_records_how_the_app_ended() {
    let mut pod = Pod::inspect(&["ignore", "TERM", "print-msg", "ready", "sleep", "100000"]);
    pod.wait_for("ready");
    let patient = rkt().start(["stop", &pod.uuid]);
    // A command runs in the meantime: the stop is being waited for.
    std::thread::sleep(limit(1));
    assert!(!pod.running().has_ended());

    rkt().run(["stop", "--force", &pod.uuid]).expect_code(0).expect_out(&pod.uuid);

    patient.finish(brief()).expect_code(0);
    pod.finish().expect_code(9);
    assert_eq!(pod.status_value(&pod.uuid, "app-inspect").as_deref(), Some("9"));
}

#[test]
fn force_ends_a_pod_whose_supervisor_hangs_or_cannot_be_reached() {
    let mut hanging = Pod::inspect(&["print-msg", "ready", "sleep", "100000"]);
    let mut unreachable = Pod::inspect(&["print-msg", "ready", "sleep", "100000"]);
    hanging.wait_for("ready");
    unreachable.wait_for("ready");
    hanging.running().send(Signal::SIGSTOP);
    let socket = unreachable.data().join("pods/run").join(&unreachable.uuid).join("control.sock");
    std::fs::remove_file(socket).expect("the pod listens");

    for pod in [&mut hanging, &mut unreachable] {
        rkt().run(["stop", "--force", &pod.uuid]).expect_code(0);

        pod.finish().expect_code(137);
        pod.wait_for_state(&pod.uuid, "exited");
    }
}

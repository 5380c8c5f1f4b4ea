//! Mutable pods: apps that are added to a running virtual machine, started, stopped and removed.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use rkt_tests::command::{Finished, Stream, limit};

use crate::pod::{Pod, brief, fresh_path, rkt, said};

const BUSYBOX: &str = "example.com/busybox";

/// `rkt app VERB UUID …`.
#[track_caller]
fn app(pod: &Pod, verb: &str, rest: &[&str]) -> Finished {
    rkt().run([&["app", verb, &pod.uuid], rest].concat())
}

/// `rkt app exec`. What follows the pod is the command's.
#[track_caller]
fn exec(pod: &Pod, name: &str, command: &[&str]) -> Finished {
    rkt().run([&["app", "exec", &format!("--app={name}"), &pod.uuid], command].concat())
}

/// Adds an app that runs a shell script.
#[track_caller]
fn add(pod: &Pod, name: &str, flags: &[&str], script: &str) {
    let name = format!("--name={name}");
    app(pod, "add", &[&[BUSYBOX, &name], flags, &["--", "-c", script]].concat()).expect_code(0);
}

/// The value of a line of `rkt app status`.
#[track_caller]
fn status(pod: &Pod, name: &str, key: &str) -> String {
    let status = app(pod, "status", &[&format!("--app={name}")]).expect_code(0).out();
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    value.unwrap_or_else(|| panic!("no {key} in {status}")).to_owned()
}

#[track_caller]
fn wait_for_exit(pod: &Pod, name: &str) {
    let until = std::time::Instant::now() + brief();
    while status(pod, name, "state") != "exited" {
        assert!(std::time::Instant::now() < until, "app {name} does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn apps_come_and_go_while_the_pod_runs() {
    let mut pod = Pod::sandbox();

    // An app that fails ends nothing but itself.
    let own = "--mnt-volume=name=own,kind=empty,target=/own";
    let script = "echo once more >> /runs; mkdir -p /own/run; echo run $(wc -l < /runs); exit 3";
    add(&pod, "fails", &[own], script);
    exec(&pod, "fails", &["true"]).expect_code(254).expect_err("has not been started");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("run 1");
    wait_for_exit(&pod, "fails");
    assert_eq!(status(&pod, "fails", "exit_code"), "3");

    // Another one runs beside it, can be entered, and the first one is started again: its files are still there.
    add(&pod, "stays", &[], "trap 'echo told to end; exit 0' TERM; echo here; while :; do sleep 0.1; done");
    app(&pod, "start", &["--app=stays"]).expect_code(0);
    pod.wait_for("here");
    let entered = exec(&pod, "stays", &["sh", "-c", "echo $AC_APP_NAME; exit 5"]).expect_code(5);
    assert_eq!(entered.out(), "stays\n");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("run 2");
    wait_for_exit(&pod, "fails");
    app(&pod, "start", &["--app=stays"]).expect_code(254).expect_err("running already");

    // What cannot be executed is an answer, not the pod's end.
    app(&pod, "add", &[BUSYBOX, "--name=missing", "--exec=/no/such/program"]).expect_code(0);
    app(&pod, "start", &["--app=missing"]).expect_code(254).expect_err("/no/such/program");
    assert_eq!(status(&pod, "missing", "state"), "created");

    app(&pod, "stop", &["--app=stays"]).expect_code(0);
    pod.wait_for("told to end");
    assert_eq!(status(&pod, "stays", "state"), "exited");
    app(&pod, "stop", &["--app=stays"]).expect_err("app \"stays\" is not running");
    let list = app(&pod, "list", &["--no-legend"]).expect_code(0).out();
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 3, "{list}");
    assert!(words.contains(&vec!["stays", "exited"]), "{list}");

    // A removed app leaves nothing, and another one of its name starts with the files of its image.
    app(&pod, "rm", &["--app=fails"]).expect_code(0);
    assert!(!app(&pod, "list", &["--no-legend"]).out().contains("fails"));
    let volumes = fs::read_dir(rkt().data().join("pods/run").join(&pod.uuid).join("sharedVolumes"))
        .expect("the pod's volumes");
    assert_eq!(volumes.count(), 0, "the app's own volume went with it");
    let server = pod.file_server();
    let root = fs::read_dir(format!("/proc/{server}/root/apps")).expect("the shared tree");
    let mut names: Vec<String> =
        root.map(|entry| entry.expect("reading").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["missing", "stays"]);
    add(&pod, "fails", &[own], "test -e /runs -o -e /own/run && echo old files; echo fresh");
    app(&pod, "start", &["--app=fails"]).expect_code(0);
    pod.wait_for("fresh");
    wait_for_exit(&pod, "fails");

    let logs = rkt().run(["logs", "--app=fails", &pod.uuid]).expect_code(0).out();
    rkt().run(["stop", &pod.uuid]).expect_code(0);
    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "fails"), ["run 1", "run 2", "fresh"]);
    assert!(logs.contains("run 1") && logs.contains("run 2"), "{logs}");
    rkt().run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
}

#[test]
fn added_apps_share_volumes_and_are_killed_alone() {
    let mut pod = Pod::sandbox();
    let directory = fresh_path("volume");
    fs::create_dir(&directory).expect("creating");
    fs::write(directory.join("greeting"), "from the host").expect("writing");
    let host = format!("--mnt-volume=name=host,kind=host,source={},target=/host", directory.display());
    let writer = "cat /host/greeting; echo; echo written > /host/answer; exec sleep 100000";
    add(&pod, "writer", &[&host], writer);
    add(
        &pod,
        "reader",
        &[&host],
        "cat /host/answer; while ! grep again /host/greeting; do sleep 0.2; done; exec sleep 1000",
    );
    app(&pod, "start", &["--app=writer"]).expect_code(0);
    pod.wait_for("from the host");
    app(&pod, "start", &["--app=reader"]).expect_code(0);
    pod.wait_for("written");
    // The guest trusts its caches for a second, although the pod had no volume of the host when it booted.
    fs::write(directory.join("greeting"), "from the host again").expect("writing");
    pod.running().wait_for(Stream::Out, "from the host again", limit(30));
    assert_eq!(fs::read_to_string(directory.join("answer")).expect("the app's file"), "written\n");

    app(&pod, "rm", &["--app=writer"]).expect_code(0);
    assert_eq!(status(&pod, "reader", "state"), "running");
    app(&pod, "add", &[BUSYBOX, "--name=reader"]).expect_code(254);
    app(&pod, "stop", &["--app=writer"]).expect_code(254).expect_err("nonexistent app");

    // Whoever is killed with apps in it leaves what every pod leaves.
    pod.running().send(Signal::SIGKILL);
    pod.finish().expect_code(128 + 9);
    rkt().run(["rm", &pod.uuid]).expect_code(0);
    pod.expect_nothing_left();
}

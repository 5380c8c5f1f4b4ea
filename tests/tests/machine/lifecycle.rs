//! What happens around an app: event handlers, readiness, the end of what it leaves behind, and how ends are told.

use std::os::unix::net::UnixDatagram;

use rkt_tests::command::limit;
use serde_json::json;

use crate::pod::{INSPECT, Pod, fresh_path, inspect_as, labelled, pod_manifest, said, shell_app};

/// Two handlers that say who runs them, on which occasion.
fn handlers(pre_start: &str, post_stop: &str) -> serde_json::Value {
    let handler = |name: &str, script: &str| json!({ "name": name, "exec": ["/bin/sh", "-c", script] });
    json!({
        "user": "1000", "group": "1000",
        "eventHandlers": [handler("post-stop", post_stop), handler("pre-start", pre_start)],
    })
}

#[test]
fn event_handlers_run_as_root_around_an_app_that_does_not() {
    let report = |what: &str| format!("echo {what} $(id -u) $AC_APP_NAME $(cut -d: -f3 /proc/self/cgroup)");
    let handled = handlers(
        &format!("{}; echo prepared > /prepared", report("before")),
        &format!("{}; cat /left; sleep 0.2", report("after")),
    );
    let main =
        format!("{}; cat /prepared; echo left > /tmp/left; cd /; exec sh -c 'exit 0'", report("during"));
    let main = main.replace("/tmp/left", "/dev/shm/left");
    let handled: serde_json::Value =
        serde_json::from_str(&handled.to_string().replace("/left", "/dev/shm/left")).expect("JSON");
    let mut pod = Pod::start(&[&pod_manifest(&[shell_app("web", &main, &handled)])]);

    let output = pod.finish().expect_code(0);

    let lines =
        ["before 0 web /apps/0", "during 1000 web /apps/0", "prepared", "after 0 web /apps/0", "left"];
    assert_eq!(said(&output.stdout, "web"), lines, "{output:?}");
    let text = output.out();
    let processes: std::collections::BTreeSet<&str> = text
        .lines()
        .filter(|line| labelled(line).0 == "web")
        .filter_map(|it| it.split(['[', ']']).nth(3))
        .collect();
    assert_eq!(processes.len(), 3, "each has its own process ID: {text}");
    let logs = pod.run(["logs", &pod.uuid]).expect_code(0).out();
    assert!(logs.contains("before 0") && logs.contains("after 0"), "{logs}");
}

#[test]
fn an_app_whose_pre_start_handler_fails_is_not_started_and_its_pod_ends() {
    let failing = shell_app("web", "echo never", &handlers("echo trying; exit 3", "echo tidied"));
    let other = shell_app("other", "sleep 100000", &json!({}));
    let mut pod = Pod::start(&[&pod_manifest(&[failing, other])]);

    let output =
        pod.finish().expect_code(3).expect_err("event handler pre-start of app \"web\" exited with code 3");

    assert_eq!(said(&output.stdout, "web"), ["trying", "tidied"], "{output:?}");
    assert_eq!(pod.status_value(&pod.uuid, "app-web").as_deref(), Some("3"));
}

#[test]
fn handlers_that_cannot_be_run_are_named() {
    let missing = json!({ "eventHandlers": [{ "name": "pre-start", "exec": ["/no/such/handler"] }] });
    let before = Pod::start(&[&pod_manifest(&[shell_app("web", "echo never", &missing)])]).finish();
    before.expect_code(254).expect_err("event handler pre-start").expect_err("/no/such/handler");

    let missing = json!({ "eventHandlers": [{ "name": "post-stop", "exec": ["/no/such/handler"] }] });
    let after = Pod::start(&[&pod_manifest(&[shell_app("web", "exit 5", &missing)])]).finish();
    after.expect_code(5).expect_err("event handler post-stop").expect_err("/no/such/handler");
}

#[test]
fn post_stop_handlers_run_when_the_pod_is_stopped_and_stops_are_in_reverse_order() {
    let script =
        |name: &str| format!("trap 'echo {name} stops; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let first = shell_app("first", &script("first"), &handlers("true", "echo first is tidied"));
    let second = shell_app("second", &script("second"), &json!({}));
    let mut pod = Pod::start(&[&pod_manifest(&[first, second])]);
    pod.run(["status", "--wait-ready=60s", &pod.uuid]).expect_code(0);
    pod.wait_for("second");
    pod.wait_for("first");

    pod.run(["stop", &pod.uuid]).expect_code(0);

    let output = pod.finish().expect_code(0);
    assert_eq!(said(&output.stdout, "first"), ["up", "first stops", "first is tidied"], "{output:?}");
    assert_eq!(said(&output.stdout, "second"), ["up", "second stops"]);
}

#[test]
fn a_pod_is_ready_when_the_app_that_says_so_has_said_so_and_tells_the_service_manager() {
    let image = inspect_as("example.com/notifying", |of_image| {
        of_image["annotations"] =
            json!([{ "name": "appc.io/executor/supports-systemd-notify", "value": "true" }]);
    });
    let steps = ["print-env", "NOTIFY_SOCKET", "notify", "STATUS=not yet", "print-msg", "waiting"];
    let more = ["await-file", "/dev/shm/go", "notify", "READY=1", "print-msg", "told", "sleep", "100000"];
    let arguments = [&[image.to_str().expect("UTF-8"), "--user=1000", "--"][..], &steps, &more].concat();
    let address = fresh_path("manager");
    let manager = UnixDatagram::bind(&address).expect("binding a socket");
    manager.set_nonblocking(true).expect("a socket");
    let mut pod = Pod::start_with_env("NOTIFY_SOCKET", address.to_str().expect("UTF-8"), &arguments);
    pod.wait_for("waiting");

    let early = pod.run(["status", "--wait-ready=1s", &pod.uuid]);
    let enter = |steps: &[&str]| pod.run([&["enter", pod.uuid.as_str(), "/inspect"], steps].concat());
    enter(&["write-file", "/dev/shm/go", ""]).expect_code(0);
    let late = pod.run(["status", "--wait-ready=30s", &pod.uuid]);

    let mut said_to_manager = Vec::new();
    let mut listen = || {
        let mut buffer = [0; 100];
        while let Ok(length) = manager.recv(&mut buffer) {
            said_to_manager.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        said_to_manager.clone()
    };
    assert_eq!(listen(), ["STATUS=notifying: not yet", "READY=1"]);
    early.expect_code(254).expect_err("context deadline exceeded");
    late.expect_code(0);
    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    let output = pod.finish();
    assert_eq!(listen(), ["STATUS=notifying: not yet", "READY=1", "STOPPING=1"]);
    assert_eq!(said(&output.stdout, "notifying")[0], "NOTIFY_SOCKET=/run/systemd/notify");
}

#[test]
fn processes_that_an_app_leaves_behind_end_with_it_and_not_with_the_pod() {
    let left = "(trap 'echo asked to end; exit' TERM; while :; do sleep 0.05; done) & sleep 0.3; exit 0";
    let watching = "for i in $(seq 100); do [ -e /dev/shm/over ] && break; sleep 0.1; done; echo saw it";
    let first = shell_app("first", left, &handlers("true", "touch /dev/shm/over"));
    let second = shell_app("second", watching, &json!({}));

    let output = Pod::start(&[&pod_manifest(&[first, second])]).finish().expect_code(0);

    assert_eq!(said(&output.stdout, "first"), ["asked to end"], "{output:?}");
    assert_eq!(said(&output.stdout, "second"), ["saw it"]);
}

#[test]
fn the_end_of_an_app_is_told_in_words() {
    let killed = Pod::start(&["example.com/busybox", "--name=db", "--", "-c", "kill -SEGV $$"]).finish();
    killed.expect_code(11).expect_err("app \"db\" was killed by SIGSEGV");

    let arguments = [INSPECT, "--memory=24Mi", "--", "fill-memory", "200"];
    let full = Pod::start(&arguments).finish_within(limit(60));
    full.expect_code(9).expect_err("app \"inspect\" was killed by SIGKILL: it ran out of memory");
}

#[test]
fn a_hundred_apps_run_in_one_pod() {
    let looks = "grep 'Max open files' /proc/1/limits; echo ran";
    let command = |number| if number == 0 { looks } else { "echo ran" };
    let apps: Vec<_> =
        (0..100).map(|number| shell_app(&format!("app-{number}"), command(number), &json!({}))).collect();

    let mut pod = Pod::start(&[&pod_manifest(&apps)]);

    let output = pod.finish_within(limit(120)).expect_code(0);
    assert_eq!(output.out().lines().filter(|line| line.ends_with(": ran")).count(), 100, "{output:?}");
    // PID 1 has some for each of them.
    assert!(output.out().lines().any(|line| line.contains("Max open files") && line.contains("65536")));
    let status = pod.status(&pod.uuid);
    assert_eq!(status.iter().filter(|(key, value)| key.starts_with("app-") && value == "0").count(), 100);
}

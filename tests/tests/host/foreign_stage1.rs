//! A stage1 image by somebody else, four shell scripts, is run, entered, stopped, exported and collected: what stage0 hands
//! over is what the stage1 ABI promises, in every version of the interface.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rkt_tests::aci::{self, Aci};
use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::stub_stage1::Stub;

use crate::publisher::{self, run_arguments};

/// An rkt, a stage1 image `stub.aci` of this interface version, an image `app.aci`.
fn rkt_with(stub: &Stub) -> TestRkt {
    let rkt = TestRkt::new();
    stub.write(&rkt.path("stub.aci"));
    publisher::image(&rkt, "app.aci");
    rkt
}

fn interface(version: &'static str) -> Stub {
    Stub { interface: version, ..Stub::default() }
}

/// Starts a pod that runs until the file `hold` is removed or it is stopped.
fn start_held(rkt: &mut TestRkt) -> (Running, String, PathBuf) {
    fs::write(rkt.path("hold"), "").expect("writing");
    let hold = rkt.path("hold");
    rkt.set_env("STUB_HOLD", hold);
    let mut running = rkt.start(run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));
    running.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let uuid = rkt.uuid("uuid");
    let pod = rkt.data().join("pods/run").join(&uuid);
    (running, uuid, pod)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn run_gets_the_arguments_of_its_interface_version_in_order() {
    let flags = ["--net=none", "--hostname=box", "--dns=192.0.2.1", "--ipc=private", "--uuid-file-save=uuid"];
    // The first version in which each is passed, and the warning before.
    let optional = [
        (2, "--hostname=box", "--hostname option is not supported by stage1"),
        (4, "--dns-conf-mode=resolv=stage0,hosts=default", "--dns-conf-mode option not supported by stage1"),
        (
            3,
            "--disable-capabilities-restriction",
            "--disable-capabilities-restriction option is not supported",
        ),
        (3, "--disable-paths", "--disable-paths option is not supported by stage1"),
        (3, "--disable-seccomp", "--disable-seccomp option is not supported by stage1"),
        (6, "--ipc=private", "--ipc option is not supported by stage1"),
    ];
    for (version, text) in (1..=6).zip(["", "2", "3", "4", "5", "6"]) {
        let rkt = rkt_with(&interface(text));
        let run = ["--debug", "--insecure-options=all-run,image", "run", "--stage1-path=stub.aci"];

        let output = rkt.run([&run[..], &flags, &["./app.aci"]].concat()).expect_code(0);

        let uuid = rkt.uuid("uuid");
        let mut expected = vec!["--debug".to_owned(), "--net=none".to_owned()];
        expected.push(format!("--local-config={}", rkt.local_config().display()));
        for (since, argument, warning) in optional {
            if version >= since {
                expected.push(argument.to_owned());
            }
            assert_eq!(output.err().contains(warning), version < since, "{version}: {warning}: {output:?}");
        }
        expected.push(uuid.clone());
        let pod = rkt.data().join("pods/run").join(&uuid);
        assert_eq!(lines(&pod.join("stub-arguments")), expected, "version {version}");
    }
}

#[test]
fn gc_gets_the_configuration_from_version_five_and_is_called_in_the_pods_new_place() {
    for (version, text) in (1..=6).zip(["", "2", "3", "4", "5", "6"]) {
        let mut rkt = rkt_with(&interface(text));
        let note = rkt.path("gc-note");
        rkt.set_env("STUB_GC_NOTE", &note);
        rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci"])).expect_code(0);

        let output = rkt.run(["--debug", "gc", "--grace-period=0s"]).expect_code(0);

        let mut expected = vec!["--debug".to_owned()];
        if version >= 5 {
            expected.extend(["--local-config".to_owned(), rkt.local_config().display().to_string()]);
        }
        expected.push(rkt.uuid("uuid"));
        assert_eq!(lines(&note), expected, "version {version}");
        assert!(!output.out().contains("stub: gc"), "stage1's output is shown: {output:?}");
        rkt.expect_nothing_left();
    }
}

#[test]
fn run_becomes_stage1_with_the_lock_and_nothing_else_open() {
    let mut rkt = rkt_with(&Stub::default());
    rkt.set_env("STUB_NOTE_DESCRIPTORS", "1");
    rkt.set_env("CALLERS_OWN", "kept as it is");
    let (running, _, pod) = start_held(&mut rkt);

    assert_eq!(lines(&pod.join("pid")), [running.pid().to_string()], "the same process");
    assert_eq!(lines(&pod.join("stub-directory")), [pod.display().to_string()]);
    let program = pod.join("stage1/rootfs/init").display().to_string();
    assert_eq!(lines(&pod.join("stub-program")), [program]);
    let environment = environment(&pod.join("stub-environment"));
    assert_eq!(environment.get("CALLERS_OWN").map(String::as_str), Some("kept as it is"));
    assert_eq!(environment.get("RKT_SELINUX_CONTEXT").map(String::as_str), Some(""));
    assert_eq!(environment.get("RKT_SELINUX_MOUNT_CONTEXT").map(String::as_str), Some(""));

    // The shell has its script open, at 10 and above.
    let lock: i32 = environment["RKT_LOCK_FD"].parse().expect("a number");
    let descriptors = descriptors(&pod.join("stub-descriptors"));
    let leads_to_pod = |target: &String| *target == pod.display().to_string();
    assert!(descriptors.get(&lock).is_some_and(leads_to_pod), "{lock}: {descriptors:?}");
    // What a test runner leaves open is inherited by rkt, too.
    let inherited: Vec<String> = fs::read_dir("/proc/self/fd")
        .expect("listing")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let is_known = |number: i32, target: &String| {
        (0..=2).contains(&number) || number == lock || target.ends_with("/init") || inherited.contains(target)
    };
    let unknown: Vec<_> = descriptors.iter().filter(|(number, target)| !is_known(**number, target)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let directory = fs::File::open(&pod).expect("the pod's directory");
    let refused = Flock::lock(directory, FlockArg::LockSharedNonblock);
    assert!(refused.is_err(), "nobody holds the pod's lock");

    fs::remove_file(rkt.path("hold")).expect("removing");
    running.finish(limit(60)).expect_code(0);
    let directory = fs::File::open(&pod).expect("the pod's directory");
    assert!(Flock::lock(directory, FlockArg::LockSharedNonblock).is_ok(), "the lock outlives the pod");
}

/// What `export -p` printed.
fn environment(path: &Path) -> BTreeMap<String, String> {
    let variable = |line: &String| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    lines(path).iter().filter_map(variable).collect()
}

/// What `ls -l` printed of a process's descriptors.
fn descriptors(path: &Path) -> BTreeMap<i32, String> {
    let descriptor = |line: &String| {
        let (left, target) = line.split_once(" -> ")?;
        Some((left.split_whitespace().last()?.parse().ok()?, target.to_owned()))
    };
    lines(path).iter().filter_map(descriptor).collect()
}

#[test]
fn a_pod_is_entered_and_stopped_by_its_pid_or_by_the_child_of_its_ppid() {
    for by_parent in [false, true] {
        let mut rkt = rkt_with(&Stub::default());
        rkt.set_env("STUB_STOPPED_CODE", "3");
        if by_parent {
            rkt.set_env("STUB_PPID", "1");
        }
        let (running, uuid, pod) = start_held(&mut rkt);
        let own = running.pid().to_string();
        let first = if by_parent {
            let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("reading");
            children.split_whitespace().next().expect("one child").to_owned()
        } else {
            own
        };
        rkt.set_env("STUB_ENTER_CODE", "5");
        rkt.run(["enter", &uuid, "a", "b  c", "", "--x"]).expect_code(5);
        let expected = [&format!("--pid={first}"), "--appname=app", "--", "a", "b  c", "", "--x"];
        assert_eq!(lines(&pod.join("stub-enter-arguments")), expected);
        assert_eq!(lines(&pod.join("stub-enter-directory")), [pod.display().to_string()]);
        let tree = fs::read_to_string(pod.join("stage1TreeStoreID")).expect("reading");
        let program = rkt.data().join("cas/tree").join(tree).join("rootfs/enter");
        assert_eq!(lines(&pod.join("stub-enter-program")), [program.display().to_string()]);

        rkt.run(["stop", &uuid]).expect_code(0).expect_out(&format!("\"{uuid}\""));

        running.finish(limit(60)).expect_code(3);
        assert_eq!(lines(&pod.join("stub-stop-arguments")), std::slice::from_ref(&uuid));
        assert_eq!(lines(&pod.join("stub-stop-directory")), [pod.display().to_string()]);
        assert_eq!(
            lines(&pod.join("stub-stop-program")),
            [pod.join("stage1/rootfs/stop").display().to_string()]
        );
        assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("3"));
        rkt.run(["rm", &uuid]).expect_code(0);
        rkt.expect_nothing_left();
    }
}

#[test]
fn stop_by_force_says_so_to_stage1() {
    let mut rkt = rkt_with(&Stub::default());
    rkt.set_env("STUB_IGNORE_STOP", "1");
    let (running, uuid, pod) = start_held(&mut rkt);

    rkt.run(["stop", "--force", &uuid]).expect_code(0);

    running.finish(limit(60)).expect_code(128 + 9);
    assert_eq!(lines(&pod.join("stub-stop-arguments")), ["--force".to_owned(), uuid]);
}

#[test]
fn what_a_stage1_cannot_do_is_refused_by_name() {
    let stub = Stub::default().without("enter").without("stop").without("gc");
    let mut rkt = rkt_with(&stub);
    let (running, uuid, _) = start_held(&mut rkt);

    rkt.run(["enter", &uuid, "x"]).expect_code(RKT_FAILED).expect_err("entrypoint \"enter\" not found");
    rkt.run(["stop", &uuid]).expect_code(RKT_FAILED);
    fs::remove_file(rkt.path("hold")).expect("removing");
    running.finish(limit(60)).expect_code(0);

    // Deletion goes on without it.
    rkt.run(["rm", &uuid]).expect_code(0).expect_err("entrypoint \"gc\" not found");
    rkt.expect_nothing_left();
}

#[test]
fn waiting_for_readiness_is_waiting_for_stage1() {
    let mut rkt = rkt_with(&Stub::default());
    let hold = rkt.path("not-ready");
    fs::write(&hold, "").expect("writing");
    rkt.set_env("STUB_READY_HOLD", &hold);
    rkt.set_env("STUB_HOLD", rkt.path("hold"));
    fs::write(rkt.path("hold"), "").expect("writing");
    let mut running = rkt.start(run_arguments(&["--uuid-file-save=uuid", "./app.aci"]));
    let file = rkt.path("uuid");
    let uuid = rkt.wait_for_uuid(&mut running, &file);
    rkt.wait_for_state(&uuid, "running");
    rkt.run(["status", "--wait-ready=300ms", &uuid]).expect_code(RKT_FAILED);

    fs::remove_file(hold).expect("removing");

    rkt.run(["status", "--wait-ready", &uuid]).expect_code(0).expect_out("state=running");
    fs::remove_file(rkt.path("hold")).expect("removing");
    running.finish(limit(60)).expect_code(0);
}

/// The app is a shell script and a shell in an image; stage1 changes the root directory and runs it.
#[test]
fn an_app_runs_and_what_it_wrote_is_exported() {
    for overlay in [true, false] {
        let mut rkt = TestRkt::new();
        Stub::default().write(&rkt.path("stub.aci"));
        let busybox = fs::read("/bin/busybox").expect("busybox, static");
        Aci::new(&aci::manifest(publisher::NAME))
            .directory("rootfs/bin", 0o755)
            .file("rootfs/bin/sh", 0o755, &busybox)
            .file("rootfs/app", 0o755, b"#!/bin/sh\necho this app runs\necho result >/out\nexit 7\n")
            .write(&rkt.path("app.aci"));
        rkt.set_env("STUB_RUN_APPS", "1");
        let no_overlay = format!("--no-overlay={}", !overlay);

        let arguments = run_arguments(&[&no_overlay, "--uuid-file-save=uuid", "./app.aci"]);
        rkt.run(arguments).expect_code(7).expect_out("this app runs");

        let uuid = rkt.uuid("uuid");
        assert_eq!(rkt.status_value(&uuid, "app-app").as_deref(), Some("7"));
        rkt.run(["export", &uuid, "out.aci"]).expect_code(0);
        let listing = std::process::Command::new("tar").arg("-tf").arg(rkt.path("out.aci")).output();
        let listing = String::from_utf8(listing.expect("tar runs").stdout).expect("UTF-8");
        assert!(listing.lines().any(|name| name == "rootfs/out"), "{listing}");
        rkt.run(["rm", &uuid]).expect_code(0);
        rkt.expect_nothing_left();
    }
}

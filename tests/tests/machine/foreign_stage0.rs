//! Our stage1 image run by a stage0 that is a shell script: it asks for no more than the stage1 ABI promises, in the first
//! version of the interface and the newest, with copies and with overlays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use rkt_tests::command::{self, Finished, Running, Stream, limit};
use rkt_tests::rkt::scratch;
use rkt_tests::{dist, leaks};
use tempfile::TempDir;

use crate::pod::{brief, said};

const SCRIPT: &str = include_str!("foreign_stage0.sh");
const UUID: &str = "3f0b6d3e-5b0f-4f57-8f6e-0c4d5a1b2c3d";

/// A data directory of nobody's rkt, with one pod.
struct ForeignPod {
    data: TempDir,
}

impl ForeignPod {
    fn new() -> Self {
        Self { data: tempfile::Builder::new().prefix("foreign-").tempdir_in(scratch()).expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.data.path().join("pods/run").join(UUID)
    }

    fn start(&self, exec: &str, kind: &str, flags: &[&str]) -> Running {
        let mut stage0 = Command::new("sh");
        stage0.args(["-c", SCRIPT, "foreign_stage0.sh"]).arg(self.data.path()).arg(UUID);
        stage0.arg(dist::file("stage1-kvm.aci")).arg(dist::image("inspect")).args([exec, kind]).args(flags);
        Running::start(&mut stage0)
    }

    /// Calls an entrypoint as stage0 does: in the pod's directory.
    fn call(&self, program: &Path, arguments: &[&str]) -> Finished {
        command::run(Command::new(program).args(arguments).current_dir(self.path()), brief())
    }

    fn in_pod(&self, entrypoint: &str) -> PathBuf {
        self.path().join("stage1/rootfs").join(entrypoint)
    }

    fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn is_locked(&self) -> bool {
        let directory = fs::File::open(self.path()).expect("the pod's directory");
        Flock::lock(directory, FlockArg::LockSharedNonblock).is_err()
    }
}

impl Drop for ForeignPod {
    fn drop(&mut self) {
        leaks::end(self.data.path());
    }
}

#[test]
fn the_first_interface_version_is_enough_to_run_a_pod() {
    let pod = ForeignPod::new();
    let exec = r#"["/inspect","print-msg","hello","exit","7"]"#;

    let running = pod.start(exec, "copies", &["--net=none", "--local-config=/etc/rkt"]);
    let pid = running.pid().to_string();
    let output = running.finish(brief()).expect_code(7);

    assert_eq!(said(&output.stdout, "app"), ["hello"]);
    assert_eq!(pod.read("pid"), format!("{pid}\n"));
    assert!(!pod.path().join("ppid").exists());
    assert_eq!(pod.read("stage1/rootfs/rkt/status/app"), "7\n");
    assert_eq!(fs::read_link(pod.in_pod("rkt/supervisor-status")).expect("a link"), Path::new("ready"));
    assert_eq!(fs::read_link(pod.path().join("flavor")).expect("a link"), Path::new("kvm"));
    let networks: serde_json::Value = serde_json::from_str(&pod.read("net-info.json")).expect("JSON");
    assert!(networks.is_array());
    assert!(pod.read("stage1/rootfs/rkt/env/app").lines().any(|line| line.starts_with("PATH=")));
    assert!(pod.read("logs/app.log").ends_with(" stdout F hello\n"), "{}", pod.read("logs/app.log"));
    assert!(!pod.is_locked(), "the lock outlives the pod");

    // gc of the first version has no --local-config; it may be called twice, and after a reboot.
    for _ in 0..2 {
        pod.call(&pod.in_pod("gc"), &[UUID]).expect_code(0);
    }
    pod.call(&pod.in_pod("gc"), &["--debug", "--local-config", "/etc/rkt", UUID]).expect_code(0);
}

#[test]
fn the_newest_interface_version_runs_enters_and_stops_a_pod_on_overlays() {
    let pod = ForeignPod::new();
    let exec =
        r#"["/inspect","catch","TERM","print-msg","ready","await","TERM","print-msg","bye","exit","4"]"#;
    let mut flags = vec!["--debug", "--net=none", "--local-config=/etc/rkt", "--hostname=box"];
    flags.extend(["--dns-conf-mode=resolv=none,hosts=default", "--disable-capabilities-restriction"]);
    flags.extend(["--disable-paths", "--disable-seccomp", "--ipc=private"]);
    let mut running = pod.start(exec, "overlay", &flags);
    running.wait_for(Stream::Out, "ready", brief());
    let pid = running.pid().to_string();
    assert!(pod.is_locked());

    // From the tree store, as rkt does.
    let enter = pod.data.path().join("cas/tree/stage1/rootfs/enter");
    let arguments =
        [&format!("--pid={pid}"), "--appname=app", "--", "/inspect", "print-msg", "entered", "exit", "9"];
    let entered = pod.call(&enter, &arguments);
    let stopped = pod.call(&pod.in_pod("stop"), &[UUID]);

    assert_eq!(entered.expect_code(9).out(), "entered\n");
    stopped.expect_code(0);
    let output = running.finish(limit(60)).expect_code(4);
    assert_eq!(said(&output.stdout, "app"), ["ready", "got SIGTERM", "bye"]);
    let upper = "overlay/stage1/upper/rkt";
    assert_eq!(pod.read(&format!("{upper}/status/app")), "4\n", "status is found without any mount");
    let ready = fs::read_link(pod.path().join(upper).join("supervisor-status"));
    assert_eq!(ready.expect("a link"), Path::new("ready"));
    assert!(!pod.is_locked());

    pod.call(&pod.in_pod("gc"), &["--local-config", "/etc/rkt", UUID]).expect_code(0);
    leaks::end(pod.data.path());
    let left = leaks::of_pod(UUID);
    assert!(left.is_empty(), "left behind: {left:#?}");
}

//! Modes of apps' standard streams, and programs that attach to them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::terminal::Terminal;

use crate::pod::{Pod, brief, rkt, said};

const BUSYBOX: &str = "example.com/busybox";

/// What a process of a pod may hold beyond the guest's memory. It is a third of what passes through in the test: whoever keeps
/// what passes would need more.
const MAX_KIB: u64 = 20 * 1024;

fn attach(pod: &Pod, mode: &str) -> Command {
    rkt().command(["attach", &format!("--mode={mode}"), &pod.uuid])
}

/// Where an app's sockets are.
fn endpoints(pod: &Pod, app: &str) -> PathBuf {
    rkt().data().join("pods/run").join(&pod.uuid).join("stage1/rootfs/rkt/iottymux").join(app)
}

/// Connects as programs do that know rkt's sockets.
fn connect(pod: &Pod, app: &str, socket: &str) -> UnixStream {
    let directory = File::open(endpoints(pod, app)).expect("the app has endpoints");
    // A socket's address is short.
    let path = format!("/proc/self/fd/{}/{socket}", directory.as_raw_fd());
    UnixStream::connect(path).expect("somebody listens")
}

#[test]
fn streams_go_to_every_client_and_come_from_any() {
    let script = "echo ready; echo to-log >&2; exec cat";
    let mut pod = Pod::start(&[BUSYBOX, "--stdin=stream", "--stdout=stream", "--", "-c", script]);
    pod.wait_for("ready");
    let listed = rkt().run(["attach", "--mode=list", &pod.uuid]).expect_code(0).out();
    let mut raw = connect(&pod, "busybox", "sock-stdout");
    let looking_on = Running::start(&mut attach(&pod, "stdout"));
    let mut typing = connect(&pod, "busybox", "sock-stdin");
    let deadline = Instant::now() + brief();
    while !looking_on.so_far(Stream::Out).contains("tick") {
        assert!(Instant::now() < deadline, "nothing reaches the client");
        typing.write_all(b"tick\n").expect("the pod reads");
        thread::sleep(Duration::from_millis(50));
    }

    let mut last =
        attach(&pod, "stdin,stdout").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rkt");
    last.stdin.take().expect("piped").write_all(b"last words").expect("rkt reads");
    let mut text = String::new();
    let mut output = last.stdout.take().expect("piped");
    let mut chunk = [0; 1024];
    while !text.contains("last words") {
        let count = output.read(&mut chunk).expect("reading");
        assert!(count > 0, "only {text:?}");
        text.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    // Its end was not the app's: somebody else may still say something. Now nobody may.
    typing.shutdown(std::net::Shutdown::Write).expect("shutting down");

    let ended = pod.finish().expect_code(0);
    assert_eq!(last.wait().expect("waiting").code(), Some(0));
    let seen = looking_on.finish(brief()).expect_code(0).out();
    let mut all = String::new();
    raw.read_to_string(&mut all).expect("reading");
    assert!(seen.ends_with("last words") && all.ends_with(&seen), "{seen:?} of {all:?}");
    assert!(said(&ended.stdout, "busybox").contains(&"last words".to_owned()), "{ended:?}");
    assert_eq!(said(&ended.stderr, "busybox"), ["to-log"]);
    for name in ["stdin", "stdout"] {
        let line = format!("            \"address\": \"/rkt/iottymux/busybox/sock-{name}\"");
        assert!(listed.contains(&line), "{listed}");
    }
    assert!(!listed.contains("stderr"), "{listed}");
    assert!(!endpoints(&pod, "busybox").join("sock-stdout").exists(), "the socket outlives the app");
}

#[test]
fn a_terminal_is_shared_resized_left_and_taken_up_again() {
    let tty = ["--stdin=tty", "--stdout=tty", "--stderr=tty"];
    let shell = ["--", "-c", "echo ready; exec /bin/sh -i"];
    let mut pod = Pod::start(&[&[BUSYBOX][..], &tty, &shell].concat());
    pod.wait_for("ready");
    let mut one = Terminal::start(attach(&pod, "auto"));
    one.resize(40, 100);
    one.type_line("");
    one.wait_for("#", 1);
    let mut two = Running::start(&mut attach(&pod, "tty-out"));

    one.type_line("echo now $(stty size), $((40 + 2))");
    one.wait_for("now 40 100, 42", 1);
    one.resize(50, 132);
    one.type_line("sleep 1; echo then $(stty size)");
    one.wait_for("then 50 132", 1);
    two.wait_for(Stream::Out, "then 50 132", brief());
    one.type_keys(b"\x1d\x1d\x1d");
    let (code, screen) = one.finish();
    let mut again = Terminal::start(attach(&pod, "tty"));
    again.wait_for("#", 0);
    again.type_line("exit 7");

    let ended = pod.finish().expect_code(7);
    assert_eq!(code, 0, "{screen}");
    assert_eq!(again.finish().0, 0);
    two.finish(brief()).expect_code(0);
    assert!(said(&ended.stdout, "busybox").iter().any(|line| line.contains("then 50 132")), "{ended:?}");
}

#[test]
fn null_streams_are_nobodys_and_an_app_that_takes_no_clients_has_none() {
    // Not in the shell itself, which would redirect its own for it.
    let script = "echo gone; own=$(readlink /proc/$$/fd/1); echo $own >&2; exec sleep 100000";
    let mut pod = Pod::start(&[BUSYBOX, "--stdout=null", "--", "-c", script]);
    pod.running().wait_for(Stream::Err, "/dev/null", brief());

    let attached = rkt().run(["attach", &pod.uuid]).expect_code(254);

    assert!(attached.err().contains("app \"busybox\" has nothing to attach to"), "{attached:?}");
    rkt().run(["stop", "--force", &pod.uuid]).expect_code(0);
    let ended = pod.finish();
    assert_eq!(said(&ended.stdout, "busybox"), [""; 0]);
}

#[test]
fn a_stream_without_a_line_end_passes_whole_and_nobodys_memory_grows() {
    const BYTES: usize = 60_000_000;
    const STOP_EVERY: usize = 4_000_000;
    let script = format!(
        "echo ready; read go; head -c {BYTES} /dev/zero | tr '\\0' x; grep VmHWM /proc/1/status >&2; read end"
    );
    let mut pod = Pod::start(&[BUSYBOX, "--stdin=stream", "--stdout=stream", "--", "-c", &script]);
    pod.wait_for("ready");
    let mut reader = connect(&pod, "busybox", "sock-stdout");
    let mut typing = connect(&pod, "busybox", "sock-stdin");
    typing.write_all(b"go\n").expect("the pod reads");

    let (mut chunk, mut count, mut next_stop) = (vec![0; 1 << 16], 0, STOP_EVERY);
    while count < BYTES {
        if count > next_stop {
            // Who reads what the guest sends is away for a moment: the VMM has to keep it, and to pass it on later.
            next_stop += STOP_EVERY;
            signal::kill(pod.running().pid(), Signal::SIGSTOP).expect("the supervisor runs");
            thread::sleep(Duration::from_millis(20));
            signal::kill(pod.running().pid(), Signal::SIGCONT).expect("the supervisor is there");
        }
        let length = reader.read(&mut chunk).expect("reading");
        assert!(length > 0, "ended after {count} bytes");
        assert!(chunk[..length].iter().all(|byte| *byte == b'x'), "other bytes after {count}");
        count += length;
    }

    assert_eq!(count, BYTES);
    let supervisor = pod.running().pid();
    pod.running().wait_for(Stream::Err, "VmHWM", limit(60));
    let guest_init = pod.running().so_far(Stream::Err);
    let guest_init = guest_init.lines().find_map(|line| line.split_once("VmHWM:")).expect("said before").1;
    let guest_init: u64 = guest_init.trim().trim_end_matches(" kB").parse().expect("a number");
    let supervisor = status(supervisor, "VmHWM:");
    let vmm = status(pod.vmm(), "RssAnon:");
    assert!(
        [guest_init, supervisor, vmm].iter().all(|kib| *kib < MAX_KIB),
        "KiB: guest-init {guest_init}, supervisor {supervisor}, VMM {vmm}"
    );
    typing.write_all(b"end\n").expect("the pod reads");
    pod.finish_within(limit(60)).expect_code(0);
}

#[test]
fn an_attached_program_that_takes_nothing_is_dropped_and_the_app_writes_on() {
    let script = "echo ready; read go; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo written";
    let arguments = [BUSYBOX, "--stdin=stream", "--stdout=stream", "--", "-c", script];
    let mut pod = Pod::start_with_env("RKT_ATTACH_PATIENCE", "2", &arguments);
    pod.wait_for("ready");
    let idle = connect(&pod, "busybox", "sock-stdout");
    let mut typing = connect(&pod, "busybox", "sock-stdin");

    typing.write_all(b"go\n").expect("the pod reads");
    pod.wait_for("written");

    let ended = pod.finish_within(limit(60)).expect_code(0);
    ended.expect_err(
        "a client attached to app \"busybox\" has taken nothing of its output for 2 s and was dropped",
    );
    drop(idle);
}

/// A number of KiB from a process's status.
fn status(pid: Pid, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let value = text.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says so");
    value.trim().trim_end_matches(" kB").parse().expect("a number")
}

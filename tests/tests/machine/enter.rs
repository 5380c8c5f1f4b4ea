//! `rkt enter`: commands in apps of pods that run.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rkt_tests::command::{Finished, Running, Stream, limit};
use rkt_tests::terminal::Terminal;

use crate::pod::{Pod, brief, rkt};

/// Bytes that pass through a command: dozens of times what all buffers on the way hold together.
const LARGE: usize = 20 * 1024 * 1024;

/// A pod of one app that waits.
fn waiting_pod() -> Pod {
    let mut pod = Pod::start(&[
        "--set-env=GREETING=good morning",
        "example.com/busybox",
        "--",
        "-c",
        "cd /tmp; echo ready; exec sleep 100000",
    ]);
    pod.wait_for("ready");
    pod
}

#[track_caller]
fn enter(pod: &Pod, command: &[&str]) -> Finished {
    rkt().run([&["enter", &pod.uuid], command].concat())
}

#[track_caller]
fn start(pod: &Pod, command: &[&str]) -> Running {
    rkt().start([&["enter", &pod.uuid], command].concat())
}

/// `rkt enter` with pipes for its input and output.
#[track_caller]
fn piped(pod: &Pod, command: &[&str]) -> Child {
    let mut all = rkt().command([&["enter", &pod.uuid], command].concat());
    all.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("rkt starts")
}

#[test]
fn a_command_gets_its_arguments_and_the_apps_environment_and_gives_its_streams_and_code() {
    let pod = waiting_pod();
    let script = "echo \"$1|$2|$GREETING|$AC_APP_NAME\"; echo oops >&2; exit 7";

    let output = enter(&pod, &["sh", "-c", script, "sh", "two  words", "$HOME 'and' \"*\""]);

    let output = output.expect_code(7);
    assert_eq!(output.out(), "two  words|$HOME 'and' \"*\"|good morning|busybox\n");
    assert_eq!(output.err(), "oops\n");
    enter(&pod, &["sh", "-c", "kill -9 $$"]).expect_code(137);
    let missing = enter(&pod, &["/no/such/program"]).expect_code(254);
    assert!(
        missing.err().starts_with("enter: ") && missing.err().contains("/no/such/program"),
        "{missing:?}"
    );
    // Without a terminal and with nothing to read, a shell ends at once.
    enter(&pod, &["sh"]).expect_code(0);
}

#[test]
fn what_goes_in_comes_out_whole_and_a_reader_that_does_not_read_disturbs_nobody() {
    let pod = waiting_pod();
    let sent: Vec<u8> = (0..LARGE).map(|index| (index * 7 + index / 251) as u8).collect();
    let mut idle = piped(&pod, &["busybox", "cat", "/dev/zero"]);
    let mut busy = piped(&pod, &["busybox", "cat"]);
    let mut stdin = busy.stdin.take().expect("stdin is piped");
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).expect("the command reads")
    });

    let mut received = Vec::with_capacity(LARGE);
    busy.stdout.take().expect("stdout is piped").read_to_end(&mut received).expect("reading");

    writer.join().expect("the writer does not panic");
    assert_eq!(busy.wait().expect("waiting").code(), Some(0));
    assert!(received == sent, "{} of {} bytes came back, or other ones", received.len(), sent.len());
    // Whoever stops reading ends the command.
    drop(idle.stdout.take());
    assert_eq!(idle.wait().expect("waiting").code(), Some(128 + Signal::SIGPIPE as i32));
}

#[test]
fn signals_reach_the_command_and_a_caller_that_vanishes_takes_it_along() {
    let pod = waiting_pod();
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 1; done";
    let mut catching = start(&pod, &["sh", "-c", script]);
    catching.wait_for(Stream::Out, "ready", brief());

    catching.send(Signal::SIGTERM);

    catching.finish(brief()).expect_code(3).expect_out("caught");

    let mut vanishing = start(&pod, &["sh", "-c", "echo $$ > /tmp/pid; echo ready; exec sleep 100000"]);
    vanishing.wait_for(Stream::Out, "ready", brief());
    vanishing.send(Signal::SIGKILL);
    vanishing.finish(brief()).expect_code(137);
    let deadline = Instant::now() + limit(30);
    while enter(&pod, &["sh", "-c", "kill -0 $(cat /tmp/pid)"]).code() == 0 {
        assert!(Instant::now() < deadline, "the command goes on although nobody waits for it");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn on_a_terminal_the_command_has_one_too() {
    let pod = waiting_pod();
    let mut command = rkt().command(["enter", &pod.uuid, "sh", "-i"]);
    command.env("TERM", "screen");
    let mut terminal = Terminal::start(command);
    terminal.resize(40, 100);

    terminal.type_line("echo size $(stty size) on $TERM");
    terminal.wait_for("size 40 100 on screen", 1);
    terminal.resize(50, 132);
    terminal.type_line("sleep 1; echo now $(stty size)");
    terminal.wait_for("now 50 132", 1);
    // Ctrl-C is the command's, not ours.
    terminal.type_line("sleep 100000; echo interrupted $?");
    std::thread::sleep(Duration::from_secs(1));
    terminal.type_keys(b"\x03");
    terminal.type_line("echo goes on; exit 9");

    let (code, screen) = terminal.finish();
    assert_eq!(code, 9, "{screen}");
    assert!(screen.contains("goes on"), "{screen}");
}

#[test]
fn the_pods_end_ends_the_command_with_a_message() {
    let mut pod = waiting_pod();
    let mut entered = start(&pod, &["sh", "-c", "trap '' TERM HUP; echo ready; while :; do sleep 1; done"]);
    entered.wait_for(Stream::Out, "ready", brief());
    let mut hung = piped(&pod, &["busybox", "cat"]);

    rkt().run(["stop", &pod.uuid]).expect_code(0);

    entered.finish(brief()).expect_code(254).expect_err("enter: the pod has ended");
    assert_eq!(hung.wait().expect("waiting").code(), Some(254));
    pod.finish();
    enter(&pod, &["sh"]).expect_code(254).expect_err("isn't currently running");
}

#[test]
fn one_of_several_apps_is_named() {
    let mut pod = Pod::start(&[
        "example.com/busybox",
        "--name=one",
        "--",
        "-c",
        "echo ready; exec sleep 100000",
        "---",
        "example.com/busybox",
        "--name=two",
        "--",
        "-c",
        "exec sleep 100000",
    ]);
    // As early as anybody can: the command waits for its app.
    let app = |name: &str, command: &[&str]| {
        let flag = format!("--app={name}");
        rkt().run([&["enter", &flag, &pod.uuid], command].concat())
    };

    app("two", &["sh", "-c", "echo $AC_APP_NAME"]).expect_code(0).expect_out("two");
    app("one", &["sh", "-c", "echo $AC_APP_NAME"]).expect_code(0).expect_out("one");
    app("three", &["sh"]).expect_code(254);
    let unnamed = enter(&pod, &["sh"]).expect_code(254);
    unnamed.expect_err("specify app using");
    rkt().run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child as Process, Command, Stdio as Standard};

use guest_api::{Stdio, WindowSize};
use nix::unistd::Pid;
use rustix::process::Signal;

use super::child::Child;
use crate::app::descriptors::{self, Descriptors};
use crate::app::pty::Terminal;
use crate::app::report;
use crate::app::start::Started;

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Standard::null()).stdout(Standard::null()).process_group(0);
    command
}

fn look_after(process: &Process, descriptors: Descriptors) -> (Child, report::Reporter) {
    let (report, reporter) = report::pair().unwrap();
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap());
    (Child::new(Started { pid, report, descriptors }), reporter)
}

fn log() -> Descriptors {
    descriptors::make(Stdio::LOG).unwrap().0
}

#[test]
fn signal_goes_to_the_process() {
    let mut process = sleep().spawn().unwrap();
    let (mut child, _) = look_after(&process, log());
    child.report = None;

    child.signal(10);

    assert_eq!(process.wait().unwrap().signal(), Some(10));
}

#[test]
fn signal_waits_for_the_program_that_it_is_meant_for() {
    let mut process = sleep().spawn().unwrap();
    let (mut child, _reporter) = look_after(&process, log());

    child.signal(12);
    assert!(process.try_wait().unwrap().is_none());
    child.report = None;
    child.deliver_waiting_signals();

    assert_eq!(process.wait().unwrap().signal(), Some(12));
}

#[test]
fn numbers_that_are_no_signals_do_nothing() {
    let mut process = sleep().spawn().unwrap();
    let (mut child, _) = look_after(&process, log());
    for report in [true, false] {
        if !report {
            child.report = None;
            child.deliver_waiting_signals();
        }
        [0, 32, 33, 65, 128, 255].into_iter().for_each(|number| child.signal(number));
    }

    child.signal(40);

    assert_eq!(process.wait().unwrap().signal(), Some(40));
}

#[test]
fn process_that_was_reaped_is_not_signalled() {
    let mut process = sleep().spawn().unwrap();
    let (mut child, _) = look_after(&process, log());
    child.report = None;
    child.pid = None;

    child.signal(9);
    assert!(process.try_wait().unwrap().is_none());
    child.signal_own_group(Signal::TERM);

    assert_eq!(process.wait().unwrap().signal(), Some(15));
}

#[test]
fn signal_goes_to_the_foreground_of_the_terminal() {
    let size = WindowSize { rows: 24, columns: 80 };
    let (terminal, user_side) = Terminal::open("/dev/ptmx", size).unwrap();
    let device = || Standard::from(std::os::fd::AsFd::as_fd(&user_side).try_clone_to_owned().unwrap());
    // A shell with job control puts what it runs into the foreground, in a group of its own.
    let waits = "trap 'echo got it; exit' INT; echo ready; for i in $(seq 500); do sleep 0.01; done";
    let script = format!("set -m; sh -c \"{}\"; echo over", waits.replace('$', "\\$"));
    // A shell cannot trap what was ignored when it began, as it is in whatever somebody runs in the background.
    let mut shell = Command::new("env")
        .args(["--default-signal=INT", "setsid", "--ctty", "sh", "-c", &script])
        .stdin(device())
        .stdout(device())
        .stderr(device())
        .spawn()
        .unwrap();
    drop(user_side);
    let (mut child, _) = look_after(&shell, Descriptors::of_terminal(terminal).unwrap());
    child.report = None;
    read_until(&mut child, "ready");

    child.signal(2);

    let rest = read_until(&mut child, "over");
    assert!(rest.contains("got it"), "{rest:?}");
    assert!(shell.wait().unwrap().success());
}

fn read_until(child: &mut Child, wanted: &str) -> String {
    use crate::app::output::Relayed;
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let mut data = [0; 4096];
        match child.descriptors.stream_mut(guest_api::StdioStream::Stdout).relay(&mut data).unwrap() {
            Relayed::Data(count) => seen.push_str(&String::from_utf8_lossy(&data[..count])),
            Relayed::Empty => std::thread::yield_now(),
            other => panic!("{other:?} after {seen:?}"),
        }
    }
    seen
}

// Forking in a test binary breaks the rule of one thread; these children only touch what fork leaves intact: system calls
// and their own memory, with glibc's allocator safe across fork.
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::process::{getpgrp, getpid};

use super::process::*;

#[test]
fn child_reports_its_result() {
    let child = spawn("test", Company::Host, &[], || 42u32).unwrap();

    assert_eq!(child.wait::<u32>().unwrap(), End::Done(42));
}

#[test]
fn child_leads_a_session_of_its_own() {
    let child = spawn("test", Company::Host, &[], || getpgrp() == getpid()).unwrap();

    assert_eq!(child.wait::<bool>().unwrap(), End::Done(true));
}

#[test]
fn child_holds_no_descriptor_but_those_it_was_given() {
    let secret = tempfile::tempfile().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let kept = writer.try_clone().unwrap();
    let keep = [kept.as_raw_fd()];
    // The child's copy is closed behind its back, so it must not be closed again.
    let secret = &secret;

    let child = spawn("test", Company::Host, &keep, move || {
        let alive = |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).is_ok();
        (alive(secret.as_fd()), alive(kept.as_fd()))
    })
    .unwrap();

    assert_eq!(child.wait::<(bool, bool)>().unwrap(), End::Done((false, true)));
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn killed_child_is_known_by_its_signal() {
    let child = spawn("test", Company::Host, &[], || std::thread::sleep(Duration::from_secs(60))).unwrap();

    child.kill().unwrap();

    assert_eq!(child.wait::<()>().unwrap(), End::Killed(9));
}

#[test]
fn ignored_signal_is_known_to_be() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    let child = spawn("test", Company::Host, &[], || {
        // SAFETY: the disposition of this child, which runs nothing else.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }.unwrap();
        (ignores(Signal::SIGHUP), ignores(Signal::SIGTERM))
    })
    .unwrap();

    assert_eq!(child.wait::<(bool, bool)>().unwrap(), End::Done((true, false)));
}

#[test]
fn processor_time_of_a_child_counts_its_work_and_not_its_sleep() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let keep = [writer.as_raw_fd()];
    let work = Duration::from_millis(200);
    let child = spawn("test", Company::Host, &keep, move || {
        while cpu_time() < work {}
        drop(writer);
        std::thread::sleep(Duration::from_secs(600));
    })
    .unwrap();
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);

    let used = child.processor_time().unwrap();

    // A tick of 10 ms each of user and system time may be missing.
    assert!(used + Duration::from_millis(20) >= work, "{used:?}");
    assert!(used < Duration::from_secs(300), "{used:?}");
    child.kill().unwrap();
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.try_into().unwrap()
}

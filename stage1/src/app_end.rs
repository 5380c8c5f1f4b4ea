//! An app's end in words.
//!
//! Responsible for: the sentence for the person at the terminal of `rkt run`. Must not know: exit codes of pods, who prints it.
//! Follows signal(7) and rkt-reference 6.8.

use guest_api::{AppExit, HandlerEnd};
use nix::sys::signal::Signal;

/// Longest reason that is passed on: four times the longest of guest-init's. A hostile guest could have the host keep a whole
/// frame for every app.
const MAX_REASON_BYTES: usize = 16 * 1024;

/// A reason of the guest's, cut where it becomes too long for anybody to read.
pub fn bounded(mut reason: String) -> String {
    if reason.len() > MAX_REASON_BYTES {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        reason.push_str("...");
    }
    reason
}

/// How a process ended, without a subject: `exited with code 3`, `was killed by SIGSEGV`.
pub fn how(exit: AppExit) -> String {
    match exit {
        AppExit::Code(code) => format!("exited with code {code}"),
        // Real-time signals have numbers only: which one is SIGRTMIN is up to the C library.
        AppExit::Signal(number) => match Signal::try_from(i32::from(number)) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {number}"),
        },
    }
}

/// How an event handler failed, without a subject.
pub fn how_handler(end: &HandlerEnd) -> String {
    match end {
        HandlerEnd::Ended(exit) => how(*exit),
        HandlerEnd::NotRun(reason) => format!("could not be run: {}", bounded(reason.clone())),
        HandlerEnd::TimedOut => "took longer than the grace period and was killed".to_owned(),
    }
}

/// What is worth saying of the end of the app `name`, if anything. `asked_to_end` says that the pod was ending already, when
/// apps end by the signals that they are sent; `out_of_memory` that the kernel killed processes of it for want of memory.
pub fn report(name: &str, exit: AppExit, asked_to_end: bool, out_of_memory: bool) -> Option<String> {
    let how = how(exit);
    let sent = [Signal::SIGTERM, Signal::SIGKILL].map(|signal| AppExit::Signal(signal as u8));
    match (exit, out_of_memory) {
        (AppExit::Signal(_), true) => Some(format!("app {name:?} {how}: it ran out of memory")),
        (AppExit::Code(_), true) => Some(format!(
            "app {name:?} {how}; before that, it ran out of memory and the kernel killed processes of it"
        )),
        (AppExit::Signal(_), false) if asked_to_end && sent.contains(&exit) => None,
        (AppExit::Signal(number), false) if i32::from(number) == Signal::SIGSYS as i32 => {
            Some(format!("app {name:?} {how}: it made a system call that its seccomp filter forbids"))
        }
        (AppExit::Signal(_), false) => Some(format!("app {name:?} {how}")),
        // Its own business, and the exit code says it.
        (AppExit::Code(_), false) => None,
    }
}

//! Ended processes.
//!
//! Responsible for: learning of them through a descriptor, and collecting all of them; PID 1 inherits every orphan. Must
//! not know: which process is an app's. Follows signalfd(2) and wait(2).

use guest_api::AppExit;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::InitError;

/// Ended processes since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Process IDs and how they ended.
    pub processes: Vec<(i32, AppExit)>,
    /// There is no child left at all.
    pub none_left: bool,
}

/// Blocks SIGCHLD and turns it into a readable descriptor.
pub fn listen() -> Result<SignalFd, InitError> {
    let doing = "listen for ended processes";
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().map_err(InitError::kernel(doing))?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(InitError::kernel(doing))
}

/// Collects what has ended.
pub fn collect() -> Ended {
    let mut ended = Ended::default();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if let Some(exit) = exit_of(status) {
                    ended.processes.push((pid.as_raw_nonzero().get(), exit));
                }
            }
            Ok(None) => return ended,
            Err(Errno::INTR) => {}
            Err(_) => {
                ended.none_left = true;
                return ended;
            }
        }
    }
}

/// Exit codes are 8 bits wide and signals end at 64, so both conversions hold.
fn exit_of(status: WaitStatus) -> Option<AppExit> {
    if let Some(code) = status.exit_status() {
        return u8::try_from(code).ok().map(AppExit::Code);
    }
    status.terminating_signal().and_then(|signal| u8::try_from(signal).ok()).map(AppExit::Signal)
}

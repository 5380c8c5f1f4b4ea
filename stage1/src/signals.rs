//! Signals as something to read, so that one loop sees everything.
//!
//! Responsible for: taking signals. Must not know: what they are taken for. Follows signalfd(2).

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// From now on the signals arrive at the descriptor only.
pub fn take(signals: impl IntoIterator<Item = Signal>) -> io::Result<SignalFd> {
    let set: SigSet = signals.into_iter().collect();
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// The next one that has arrived.
pub fn next(signals: &SignalFd) -> io::Result<Option<Signal>> {
    Ok(signals.read_signal()?.and_then(|it| Signal::try_from(i32::try_from(it.ssi_signo).ok()?).ok()))
}

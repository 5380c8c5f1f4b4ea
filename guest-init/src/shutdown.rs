//! The end of the VM.
//!
//! Responsible for: leaving nothing unwritten, saying goodbye, and resetting; also when guest-init itself has failed. Must not
//! know: why it ends. Follows reboot(2); the VMM takes the reset for the end (docs/architecture.md).

use guest_api::ToHost;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::system::RebootCommand;

use crate::control::Control;
use crate::{InitError, console, mounts, sentence};

/// The orderly end: no process is left, everything has been said.
pub fn halt(control: Control) -> ! {
    end_with(control, &ToHost::Halting)
}

/// The end when the host is gone: nobody to talk to, but volumes deserve to be written back.
pub fn abandon() -> ! {
    kill_everything();
    rustix::fs::sync();
    reset()
}

/// The end when guest-init cannot go on: the host learns why.
pub fn fail(control: Control, error: &InitError) -> ! {
    let reason = sentence(error);
    console::say(&reason);
    kill_everything();
    end_with(control, &ToHost::Failed { reason })
}

fn end_with(mut control: Control, last_message: &ToHost) -> ! {
    if let Err(error) = mounts::unmount_share() {
        console::say(&sentence(&error));
    }
    control.queue(last_message);
    if let Err(error) = control.close() {
        console::say(&sentence(&error));
    }
    reset()
}

/// Sends SIGKILL to every process but this one, whatever group, session or control group it has made up or not yet joined.
pub fn kill_everything() {
    if std::process::id() != 1 {
        // Anywhere else this would be the end of somebody's machine.
        return;
    }
    // -1 is "all but init and myself" (kill(2)); it fails only if there is nobody.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
}

/// Makes a panic say something and end the VM at once. The host sees a VM that ended without a word: a crash.
pub fn reset_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        console::say(&panic.to_string());
        if std::process::id() == 1 {
            reset();
        }
        // SAFETY: ends this process, a child before its execve, at once.
        unsafe { libc::_exit(libc::EXIT_FAILURE) }
    }));
}

/// Resets the VM.
pub fn reset() -> ! {
    loop {
        let _ = rustix::system::reboot(RebootCommand::Restart);
        // Only a kernel that cannot reset comes back, and for PID 1 to end would be a kernel panic.
        console::say("the VM does not reset");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

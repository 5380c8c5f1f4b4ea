//! The supervisor's part in what the user does: signals, and keys of an interactive pod.
//!
//! Responsible for: which of them are rkt's and which the app's. Must not know: terminals (`console`), the pod's end (`guest`).
//! Follows docs/architecture.md, "While the pod runs, and its end".

use std::time::Instant;

use guest_api::{AppId, ToGuest};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use super::Supervisor;
use super::console::{Console, Typed};
use super::error::SupervisorError;
use crate::signals;

impl Supervisor<'_> {
    /// The first signal stops the pod in order, the next one kills it. A hang-up stops it, but does not count: a session's end
    /// may send it along with SIGTERM, and of the two it is read first. An interactive app gets what a person at its terminal would send it.
    pub(super) fn take_signals(&mut self, signals: &SignalFd) -> Result<(), SupervisorError> {
        while let Some(signal) = signals::next(signals).map_err(SupervisorError::Wait)? {
            if self.pass_to_console(signal)? {
                continue;
            }
            if signal != Signal::SIGHUP && std::mem::replace(&mut self.asked_to_stop, true) {
                return Err(SupervisorError::Killed("a second signal asked for it"));
            }
            self.stop()?;
        }
        Ok(())
    }

    /// Whether a signal has come that says so, after the guest's end. A window that changes its size does not.
    pub(super) fn was_told_to_leave(&mut self, signals: &SignalFd) -> Result<bool, SupervisorError> {
        let mut told = false;
        while let Some(signal) = signals::next(signals).map_err(SupervisorError::Wait)? {
            told |= matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT | Signal::SIGHUP);
        }
        Ok(told)
    }

    /// Whether the signal was the interactive app's, or the terminal's.
    fn pass_to_console(&mut self, signal: Signal) -> Result<bool, SupervisorError> {
        let Some(console) = self.console.as_ref().filter(|console| console.is_running()) else {
            // Taken for an app that does not run; nobody else means anything by them.
            let only_for_apps =
                matches!(signal, Signal::SIGWINCH | Signal::SIGCONT | Signal::SIGUSR1 | Signal::SIGUSR2);
            return Ok(only_for_apps);
        };
        let message = match signal {
            Signal::SIGWINCH => console.is_terminal().then(|| console.resize()),
            Signal::SIGCONT => console.resume().unwrap_or_default(),
            Signal::SIGINT | Signal::SIGQUIT | Signal::SIGUSR1 | Signal::SIGUSR2 => {
                Some(signal_of(console, signal))
            }
            Signal::SIGHUP if console.is_terminal() => {
                self.hang_up()?;
                None
            }
            _ => return Ok(false),
        };
        if let Some(message) = message {
            self.pod.control.send(&message)?;
        }
        Ok(true)
    }

    /// The terminal is gone. Shells ignore SIGTERM, but not this.
    fn hang_up(&mut self) -> Result<(), SupervisorError> {
        if let Some(console) = &self.console {
            let message = signal_of(console, Signal::SIGHUP);
            self.pod.control.send(&message)?;
        }
        self.stop()
    }

    /// An app has been started; if it is the interactive one, it gets what is typed.
    pub(super) fn start_console(&mut self, app: AppId) -> Result<(), SupervisorError> {
        let Some(console) = self.console.as_mut().filter(|console| console.app() == app) else {
            return Ok(());
        };
        match console.start() {
            Ok(message) => message.map_or(Ok(()), |message| self.pod.control.send(&message))?,
            Err(error) => self.outputs.say(&format!("warning: cannot use the terminal: {error}")),
        }
        Ok(())
    }

    /// Passes on what was typed.
    pub(super) fn read_console(&mut self) -> Result<(), SupervisorError> {
        let Some(console) = &mut self.console else { return Ok(()) };
        match console.read(Instant::now()) {
            Ok(Typed::Message(message)) => Ok(self.pod.control.send(&message)?),
            Ok(Typed::Nothing) => Ok(()),
            Ok(Typed::End) => self.kill(),
            Ok(Typed::HungUp) => self.hang_up(),
            Err(error) => {
                self.outputs.say(&format!("warning: cannot read standard input: {error}"));
                Ok(())
            }
        }
    }
}

fn signal_of(console: &Console<'_>, signal: Signal) -> ToGuest {
    console.signal(u8::try_from(signal as i32).unwrap_or_default())
}

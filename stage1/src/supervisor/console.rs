//! rkt's own standard input, for the one app of an interactive pod.
//!
//! Responsible for: reading what the app has room for, raw mode, the keys that end the pod. Must not know: the guest; its output,
//! which is that of any app but for labels. Follows rkt-reference 6.11.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use guest_api::{AppId, Endpoint, INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES, Process, Stdio, ToGuest};
use rustix::io::Errno;

use crate::escapes::{Escapes, Keys};
use crate::guest::Violation;
use crate::terminal::{self, RawMode};

/// What the user did.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Pass it on.
    Message(ToGuest),
    /// Nothing yet.
    Nothing,
    /// End the pod at once.
    End,
    /// The terminal is gone.
    HungUp,
}

/// Standard input and what the app takes of it.
#[derive(Debug)]
pub struct Console<'fd> {
    app: AppId,
    stdin: BorrowedFd<'fd>,
    /// It is a terminal, and so is the app's.
    is_terminal: bool,
    raw: Option<RawMode<'fd>>,
    escapes: Escapes,
    credit: u32,
    started: bool,
    /// Standard input has not ended.
    open: bool,
    finished: bool,
}

impl<'fd> Console<'fd> {
    /// Reads `stdin` for an app with this stdio.
    pub fn new(app: AppId, stdio: Stdio, stdin: BorrowedFd<'fd>) -> Self {
        Self {
            app,
            stdin,
            is_terminal: stdio.stdin == Endpoint::Terminal,
            raw: None,
            escapes: Escapes::default(),
            credit: INITIAL_INPUT_CREDIT_BYTES,
            started: false,
            open: true,
            finished: false,
        }
    }

    /// The app whose input it is.
    pub fn app(&self) -> AppId {
        self.app
    }

    /// Whether the app runs.
    pub fn is_running(&self) -> bool {
        self.started && !self.finished
    }

    /// Whether the app has a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The app runs. Until now Ctrl-C was a signal to rkt.
    pub fn start(&mut self) -> io::Result<Option<ToGuest>> {
        self.started = true;
        if !self.is_terminal {
            return Ok(None);
        }
        self.raw = Some(RawMode::enter(self.stdin)?);
        // The window may have changed since the pod was planned.
        Ok(Some(self.resize()))
    }

    /// The app is over: rkt's messages go to a terminal as it was.
    pub fn finish(&mut self) {
        self.open = false;
        self.finished = true;
        self.raw = None;
    }

    /// The app has taken so many bytes.
    pub fn grant(&mut self, bytes: u32) -> Result<(), Violation> {
        let credit = self.credit.checked_add(bytes).filter(|it| *it <= INITIAL_INPUT_CREDIT_BYTES);
        self.credit = credit.ok_or(Violation::BeyondInput)?;
        Ok(())
    }

    /// The descriptor to wait for, if the app has room.
    pub fn descriptor(&self) -> Option<BorrowedFd<'fd>> {
        (self.started && self.open && self.credit > 0).then_some(self.stdin)
    }

    /// The window's present size.
    pub fn resize(&self) -> ToGuest {
        ToGuest::Resize { process: self.process(), size: terminal::window_size(self.stdin) }
    }

    /// A signal for the app.
    pub fn signal(&self, signal: u8) -> ToGuest {
        ToGuest::Signal { process: self.process(), signal }
    }

    /// rkt was stopped and goes on: the shell has changed the terminal's mode meanwhile.
    pub fn resume(&self) -> io::Result<Option<ToGuest>> {
        let Some(raw) = &self.raw else { return Ok(None) };
        raw.renew()?;
        Ok(Some(self.resize()))
    }

    /// Reads once.
    pub fn read(&mut self, now: Instant) -> io::Result<Typed> {
        let room = usize::try_from(self.credit).unwrap_or(MAX_INPUT_BYTES).min(MAX_INPUT_BYTES);
        let mut data = vec![0; room];
        match rustix::io::read(self.stdin, data.as_mut_slice()) {
            Ok(0) | Err(Errno::IO) if self.is_terminal => {
                self.open = false;
                Ok(Typed::HungUp)
            }
            Ok(0) => {
                self.open = false;
                Ok(Typed::Message(ToGuest::InputClosed(self.process())))
            }
            Ok(count) => {
                data.truncate(count);
                if self.is_terminal {
                    match self.escapes.feed(&data, now) {
                        Keys::End => return Ok(Typed::End),
                        Keys::Pass(passed) => data = passed,
                    }
                }
                if data.is_empty() {
                    return Ok(Typed::Nothing);
                }
                self.credit = self.credit.saturating_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
                Ok(Typed::Message(ToGuest::Input { process: self.process(), data }))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Typed::Nothing),
            Err(errno) => {
                self.open = false;
                Err(errno.into())
            }
        }
    }

    fn process(&self) -> Process {
        Process::App(self.app)
    }
}

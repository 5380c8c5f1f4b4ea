//! A process's standard input: bytes from the host on their way into a pipe or a terminal.
//!
//! Responsible for: never blocking on a process that does not read, and giving the host credit for what was taken. Must
//! not know: the control connection. Follows guest-api (`Input`, `InputClosed`, `InputCredit`), pipe(7) and pty(7).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_api::{INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES};
use rustix::io::Errno;

/// Credit is granted in steps of a quarter of what the host starts with: not a message for every key.
const CREDIT_STEP_BYTES: u32 = INITIAL_INPUT_CREDIT_BYTES / 4;

/// The host sent more than it had credit for, or too much in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeyondCredit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Terminal,
}

/// The writing end of one input.
#[derive(Debug)]
pub struct Input {
    sink: Option<OwnedFd>,
    kind: Kind,
    /// Not written yet; no more than the host had credit for.
    waiting: VecDeque<u8>,
    /// What the host may still send.
    credit: u32,
    /// Taken from the host for good, and not granted again yet.
    earned: u32,
    /// The host has sent its last byte.
    finished: bool,
}

impl Input {
    /// Takes the writing end of a pipe, from now on non-blocking.
    pub fn pipe(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self::over(Some(pipe), Kind::Pipe))
    }

    /// Takes the controlling side of a terminal, from now on non-blocking.
    pub fn terminal(controller: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&controller, true)?;
        Ok(Self::over(Some(controller), Kind::Terminal))
    }

    /// The input of a process that reads from /dev/null: what is sent to it is dropped.
    pub fn none() -> Self {
        Self::over(None, Kind::Pipe)
    }

    fn over(sink: Option<OwnedFd>, kind: Kind) -> Self {
        let credit = INITIAL_INPUT_CREDIT_BYTES;
        Self { sink, kind, waiting: VecDeque::new(), credit, earned: 0, finished: false }
    }

    /// Takes bytes from the host and writes what goes.
    pub fn accept(&mut self, data: &[u8]) -> Result<(), BeyondCredit> {
        let length = u32::try_from(data.len()).map_err(|_| BeyondCredit)?;
        if data.len() > MAX_INPUT_BYTES {
            return Err(BeyondCredit);
        }
        self.credit = self.credit.checked_sub(length).ok_or(BeyondCredit)?;
        if self.sink.is_none() || self.finished {
            self.earned = self.earned.saturating_add(length);
            return Ok(());
        }
        self.waiting.extend(data);
        self.write();
        Ok(())
    }

    /// Nothing more comes. A pipe is closed once it has taken everything; a terminal is left alone.
    pub fn finish(&mut self) {
        if self.kind == Kind::Pipe {
            self.finished = true;
            self.write();
        }
    }

    /// The descriptor, if something waits to be written to it.
    pub fn writable(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what goes. Whoever closed its reading end wants nothing more: the rest is dropped.
    pub fn write(&mut self) {
        while let Some(sink) = &self.sink {
            let (front, _) = self.waiting.as_slices();
            if front.is_empty() {
                if self.finished {
                    self.close();
                }
                return;
            }
            match rustix::io::write(sink, front) {
                Ok(count) => self.take(count),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // PID 1 gets EPIPE only: the kernel spares it signals that it does not ask for.
                Err(_) => self.close(),
            }
        }
    }

    /// Bytes to grant the host, if it is time to.
    pub fn grant(&mut self) -> Option<u32> {
        if self.earned < CREDIT_STEP_BYTES {
            return None;
        }
        let bytes = std::mem::take(&mut self.earned);
        self.credit = self.credit.saturating_add(bytes);
        Some(bytes)
    }

    /// Closes the input and drops what waits.
    pub fn close(&mut self) {
        self.take(self.waiting.len());
        self.sink = None;
    }

    fn take(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
        self.earned = self.earned.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

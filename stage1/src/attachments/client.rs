//! A program that is connected to an endpoint of an app.
//!
//! Responsible for: which directions it uses, when it is gone, how long the app waits for one that takes nothing. Must not
//! know: other clients. Follows unix(7) and poll(2).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guest_api::{MAX_INPUT_BYTES, StdioStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a client may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is the app's.
    Open,
    /// The client has shut its side down, or never was to say anything that the app gets.
    Ended,
}

/// What hearing a client brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Bytes for the app.
    Data(Vec<u8>),
    /// Nothing at the moment.
    Nothing,
    /// It says nothing more, but listens on.
    Shutdown,
    /// It is gone.
    Gone,
}

/// A connected program.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Whether what it says is the app's.
    pub input: Input,
    /// What it gets, if it gets something.
    pub output: Option<StdioStream>,
    /// It says nothing more.
    pub has_shut_down: bool,
    /// It has hung up; what it said before has not been read yet.
    pub hung_up: bool,
    /// How long it is waited for.
    pub patience: Duration,
    waits_since: Option<Instant>,
}

impl Client {
    /// One that has just connected.
    pub fn new(
        stream: UnixStream,
        takes_input: bool,
        output: Option<StdioStream>,
        patience: Duration,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let input = if takes_input { Input::Open } else { Input::Ended };
        Ok(Self { stream, input, output, has_shut_down: false, hung_up: false, patience, waits_since: None })
    }

    /// The descriptor to wait for; hang-ups are told whatever is waited for. One that has hung up would wake for ever.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (!self.hung_up).then(|| self.stream.as_fd())
    }

    /// How much of what it says may be read now; None for nothing.
    pub fn room(&self, may_read: bool, credit: u32) -> Option<usize> {
        match self.input {
            Input::Ended if self.has_shut_down => None,
            // What is said to an output goes nowhere.
            Input::Ended => Some(MAX_INPUT_BYTES),
            Input::Open if may_read && credit > 0 => usize::try_from(credit).ok(),
            Input::Open => None,
        }
    }

    /// Reads at most so many bytes.
    pub fn hear(&mut self, room: usize) -> Heard {
        let mut data = vec![0; room.min(MAX_INPUT_BYTES)];
        match self.stream.read(&mut data) {
            Ok(0) if self.has_hung_up() => Heard::Gone,
            Ok(0) => Heard::Shutdown,
            Ok(count) => {
                data.truncate(count);
                Heard::Data(data)
            }
            Err(error) if is_transient(&error) => Heard::Nothing,
            Err(_) => Heard::Gone,
        }
    }

    /// Whether the other side has closed its socket, and not only shut down the direction to here.
    pub fn has_hung_up(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.stream, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let woken = poll(&mut descriptors, Some(&at_once)).is_ok_and(|count| count > 0);
        woken && descriptors.iter().any(|it| it.revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// Writes what the socket takes of `data`; None if nobody reads it any more.
    pub fn write(&mut self, data: &[u8]) -> Option<usize> {
        match self.stream.write(data) {
            Ok(count) => Some(count),
            Err(error) if is_transient(&error) => Some(0),
            Err(_) => None,
        }
    }

    /// Takes note of whether something waits for it, and has since before `took_some`.
    pub fn note(&mut self, waits: bool, took_some: bool, now: Instant) {
        self.waits_since = match self.waits_since {
            Some(since) if waits && !took_some => Some(since),
            _ => waits.then_some(now),
        };
    }

    /// Whether something waits for it.
    pub fn waits(&self) -> bool {
        self.waits_since.is_some()
    }

    /// When it is given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.waits_since.and_then(|since| since.checked_add(self.patience))
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

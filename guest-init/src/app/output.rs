//! A process's outputs: pipes and terminals that are read no faster than the host takes what they carry.
//!
//! Responsible for: credit, and knowing what of a stream was there when its process ended. Must not know: the control
//! connection. Follows guest-api (`Credit`, `Output`, `OutputClosed`), pipe(7) and pty(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_api::{INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES};
use rustix::io::Errno;

/// Credit that is saved up. Every grant leaves a rest, and a message for it costs as much as one of 64 KiB. The host, which holds back
/// no more than a half and a line of what it gives, grants more before it has written all that is on its way.
const SMALLEST_CREDIT_BYTES: usize = 16 * 1024;

/// What an output's pipe holds: the credit that the host gives, so that the process writes on while it comes. The kernel counts it
/// as the process's own memory.
const PIPE_BYTES: usize = 256 * 1024;

/// More than a terminal can hold of what was written to it: the kernel's queues for it end at 4 KiB of the line discipline
/// and 8 KiB before that (`N_TTY_BUF_SIZE`, `pty_common_install`). It cannot be asked how much is there.
const TERMINAL_BYTES: usize = 64 * 1024;

/// How many bytes the host is still willing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit(u32);

impl Credit {
    /// What every stream starts with.
    pub fn initial() -> Self {
        Self(INITIAL_CREDIT_BYTES)
    }

    /// Adds what the host granted. More than fits is as good as unlimited.
    pub fn grant(&mut self, bytes: u32) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// How much the next message may carry; nothing if the next grant makes a better one possible.
    pub fn next_message(self) -> usize {
        let left = usize::try_from(self.0).unwrap_or(usize::MAX).min(MAX_OUTPUT_BYTES);
        if left < SMALLEST_CREDIT_BYTES { 0 } else { left }
    }

    /// Takes away what was sent.
    pub fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// What one attempt to read a stream brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Relayed {
    /// So many bytes; the credit for them is spent.
    Data(usize),
    /// Nothing at the moment.
    Empty,
    /// Nothing ever again; the stream is closed now.
    End,
    /// There is no credit, so it is not known.
    NoCredit,
    /// The stream was closed before.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Terminal,
}

/// The reading end of one output.
#[derive(Debug)]
pub struct Stream {
    source: Option<OwnedFd>,
    kind: Kind,
    credit: Credit,
    owed: usize,
}

impl Stream {
    /// Takes the reading end of a pipe, from now on non-blocking.
    pub fn pipe(pipe: OwnedFd) -> io::Result<Self> {
        // One of the usual size does as well, only more slowly.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES);
        Self::over(pipe, Kind::Pipe)
    }

    /// Takes the controlling side of a terminal, from now on non-blocking.
    pub fn terminal(controller: OwnedFd) -> io::Result<Self> {
        Self::over(controller, Kind::Terminal)
    }

    /// A stream that the process does not have.
    pub fn none() -> Self {
        Self { source: None, kind: Kind::Pipe, credit: Credit::initial(), owed: 0 }
    }

    fn over(source: OwnedFd, kind: Kind) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok(Self { source: Some(source), kind, credit: Credit::initial(), owed: 0 })
    }

    /// More may be sent.
    pub fn grant(&mut self, bytes: u32) {
        self.credit.grant(bytes);
    }

    /// The descriptor, if waiting for it makes sense.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().filter(|_| self.credit.next_message() > 0).map(AsFd::as_fd)
    }

    /// Reads at most one message's worth, and not more than fits, to the front of `data`.
    pub fn relay(&mut self, data: &mut [u8]) -> io::Result<Relayed> {
        let Some(source) = &self.source else { return Ok(Relayed::Closed) };
        let limit = self.credit.next_message().min(data.len());
        if limit == 0 {
            return Ok(Relayed::NoCredit);
        }
        match rustix::io::read(source, data.get_mut(..limit).unwrap_or_default()) {
            // A terminal that nobody has open any more says so with EIO.
            Ok(0) | Err(Errno::IO) => {
                self.close();
                Ok(Relayed::End)
            }
            Ok(count) => {
                self.credit.spend(count);
                self.owed = self.owed.saturating_sub(count);
                Ok(Relayed::Data(count))
            }
            Err(Errno::AGAIN) => {
                self.owed = 0;
                Ok(Relayed::Empty)
            }
            Err(Errno::INTR) => Ok(Relayed::Empty),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers how much is there now. Whoever ended wrote no later than this, and a descendant that goes on writing
    /// for ever must not keep its ancestor's end from being told.
    pub fn owe_what_is_there(&mut self) -> io::Result<()> {
        self.owed = match (&self.source, self.kind) {
            (None, _) => 0,
            (Some(_), Kind::Terminal) => TERMINAL_BYTES,
            (Some(pipe), Kind::Pipe) => {
                usize::try_from(rustix::io::ioctl_fionread(pipe)?).unwrap_or(usize::MAX)
            }
        };
        Ok(())
    }

    /// Whether everything that was there at the last [`Self::owe_what_is_there`] has been sent.
    pub fn owes_nothing(&self) -> bool {
        self.owed == 0
    }

    /// Closes the stream; whoever still writes to a pipe gets SIGPIPE. Says whether it was open.
    pub fn close(&mut self) -> bool {
        self.owed = 0;
        self.source.take().is_some()
    }
}

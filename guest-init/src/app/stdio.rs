//! An app's outputs: pipes that are read no faster than the host takes what they carry.
//!
//! Responsible for: credit, and knowing what of a stream was there when its app ended. Must not know: the control connection.
//! Follows guest-api (`Credit`, `Output`, `OutputClosed`) and pipe(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_api::{INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES};
use rustix::io::Errno;

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

    /// How much the next message may carry.
    pub fn next_message(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX).min(MAX_OUTPUT_BYTES)
    }

    /// Takes away what was sent.
    pub fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// What one attempt to read a stream brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Bytes; the credit for them is spent.
    Data(Vec<u8>),
    /// Nothing at the moment.
    Empty,
    /// Nothing ever again; the stream is closed now.
    End,
    /// There is no credit, so it is not known.
    NoCredit,
    /// The stream was closed before.
    Closed,
}

/// The reading end of one output.
#[derive(Debug)]
pub struct Stream {
    pipe: Option<OwnedFd>,
    credit: Credit,
    owed: usize,
}

impl Stream {
    /// Takes a pipe, from now on non-blocking.
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe: Some(pipe), credit: Credit::initial(), owed: 0 })
    }

    /// More may be sent.
    pub fn grant(&mut self, bytes: u32) {
        self.credit.grant(bytes);
    }

    /// The pipe, if waiting for it makes sense.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| self.credit.next_message() > 0).map(AsFd::as_fd)
    }

    /// Reads at most one message's worth.
    pub fn relay(&mut self) -> io::Result<Relayed> {
        let Some(pipe) = &self.pipe else { return Ok(Relayed::Closed) };
        let limit = self.credit.next_message();
        if limit == 0 {
            return Ok(Relayed::NoCredit);
        }
        let mut data = vec![0; limit];
        match rustix::io::read(pipe, data.as_mut_slice()) {
            Ok(0) => {
                self.close();
                Ok(Relayed::End)
            }
            Ok(count) => {
                self.credit.spend(count);
                self.owed = self.owed.saturating_sub(count);
                data.truncate(count);
                Ok(Relayed::Data(data))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Relayed::Empty),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers how much is in the pipe now. Whoever ended wrote no later than this, and a descendant that goes on
    /// writing for ever must not keep its ancestor's end from being told.
    pub fn owe_what_is_there(&mut self) -> io::Result<()> {
        let waiting = self.pipe.as_ref().map_or(Ok(0), rustix::io::ioctl_fionread)?;
        self.owed = usize::try_from(waiting).unwrap_or(usize::MAX);
        Ok(())
    }

    /// Whether everything that was in the pipe at the last [`Self::owe_what_is_there`] has been sent.
    pub fn owes_nothing(&self) -> bool {
        self.owed == 0
    }

    /// Closes the pipe; whoever still writes to it gets SIGPIPE. Says whether it was open.
    pub fn close(&mut self) -> bool {
        self.owed = 0;
        self.pipe.take().is_some()
    }
}

//! The supervisor's end of the control connection.
//!
//! Responsible for: whole messages in and out of a non-blocking socket. Must not know: what they mean. Follows guest-api.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use guest_api::{FrameBuffer, FrameError, Incoming, ToGuest, append};
use rustix::io::Errno;

/// Bytes read at once: what a socket holds.
const READ_BYTES: usize = 256 * 1024;

/// Why the connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The guest sent something that is no message.
    #[error("the guest sent a malformed message")]
    Malformed(#[source] FrameError),
    /// A message could not be encoded: the pod is too large to be described.
    #[error("cannot describe the pod to the guest")]
    Encode(#[source] FrameError),
    /// The socket failed.
    #[error("the control connection failed")]
    Socket(#[source] io::Error),
}

/// The connection.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
    closed: bool,
}

impl Control {
    /// Speaks over `stream`.
    pub fn new(stream: UnixStream) -> Result<Self, ControlError> {
        stream.set_nonblocking(true).map_err(ControlError::Socket)?;
        Ok(Self { stream, incoming: FrameBuffer::new(), outgoing: Vec::new(), closed: false })
    }

    /// The descriptor to wait for: to read until [`Self::is_closed`], to write while [`Self::has_outgoing`].
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether the other side has closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something waits to be written.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Queues a message.
    pub fn send(&mut self, message: &ToGuest) -> Result<(), ControlError> {
        append(&mut self.outgoing, message).map_err(ControlError::Encode)
    }

    /// Writes what the socket takes. What a closed connection no longer takes is forgotten: the VMM's end tells more.
    pub fn flush(&mut self) -> Result<(), ControlError> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_hang_up(&error) => self.outgoing.clear(),
                Err(error) => return Err(ControlError::Socket(error)),
            }
        }
        Ok(())
    }

    /// Reads once, for [`Self::next_message`] to hand out. Says whether there was something to read.
    pub fn fill(&mut self) -> Result<bool, ControlError> {
        let space = self.incoming.space();
        space.reserve(READ_BYTES);
        loop {
            match rustix::io::read(&self.stream, rustix::buffer::spare_capacity(space)) {
                Ok(0) => self.closed = true,
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => self.closed = true,
                Err(errno) => return Err(ControlError::Socket(errno.into())),
            }
            return Ok(false);
        }
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<Incoming<'_>>, ControlError> {
        self.incoming.next_incoming().map_err(ControlError::Malformed)
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

//! The supervisor's end of the control connection.
//!
//! Responsible for: whole messages in and out of a non-blocking socket. Must not know: what they mean. Follows guest-api.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use guest_api::{FrameBuffer, FrameError, Incoming, MAX_OUTPUT_FRONT_BYTES, OutputFront, ToGuest, append};
use rustix::io::Errno;
use rustix::net::RecvFlags;

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

    /// What comes next, if it is an output of which nothing was read: its bytes stay in the socket.
    pub fn next_output(&self) -> Result<Option<OutputFront>, ControlError> {
        if !self.incoming.is_empty() {
            return Ok(None);
        }
        let mut start = [0; MAX_OUTPUT_FRONT_BYTES];
        match rustix::net::recv(&self.stream, &mut start, RecvFlags::PEEK) {
            Ok((_, count)) => Ok(OutputFront::of(start.get(..count).unwrap_or_default())),
            // Whoever reads learns of an end.
            Err(Errno::AGAIN | Errno::INTR | Errno::PIPE | Errno::CONNRESET) => Ok(None),
            Err(errno) => Err(ControlError::Socket(errno.into())),
        }
    }

    /// Takes the front that [`Self::next_output`] has seen off the socket. What follows is for [`Self::descriptor`] to be read
    /// from, or for [`Self::take_bytes`].
    pub fn take_front(&mut self, front: OutputFront) -> Result<(), ControlError> {
        let mut bytes = [0; MAX_OUTPUT_FRONT_BYTES];
        let front = bytes.get_mut(..front.length).unwrap_or_default();
        self.stream.read_exact(front).map_err(ControlError::Socket)
    }

    /// Reads as many of an output's bytes as have come and fit.
    pub fn take_bytes(&mut self, into: &mut [u8]) -> Result<usize, ControlError> {
        match rustix::io::read(&self.stream, into) {
            Ok(0) => self.closed = true,
            Ok(count) => return Ok(count),
            Err(Errno::PIPE | Errno::CONNRESET) => self.closed = true,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(ControlError::Socket(errno.into())),
        }
        Ok(0)
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<Incoming<'_>>, ControlError> {
        self.incoming.next_incoming().map_err(ControlError::Malformed)
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

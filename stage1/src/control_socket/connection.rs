//! One end of a connection over the control socket.
//!
//! Responsible for: whole messages in and out of a non-blocking socket. Must not know: what they mean. Follows unix(7) and
//! guest-api's framing.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use guest_api::{FrameBuffer, FrameError, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes read at once: several messages of input, or most of one of output.
const READ_BYTES: usize = 32 * 1024;

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other side sent something that is no message.
    #[error("a malformed message came over the pod's control socket")]
    Malformed(#[source] FrameError),
    /// A message could not be encoded.
    #[error("the request is too long")]
    Encode(#[source] FrameError),
    /// The socket failed.
    #[error("the pod's control socket failed")]
    Socket(#[source] io::Error),
}

/// A connection that receives `I`.
#[derive(Debug)]
pub struct Connection<I> {
    stream: UnixStream,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
    closed: bool,
    receives: PhantomData<I>,
}

impl<I: DeserializeOwned> Connection<I> {
    /// Speaks over `stream`.
    pub fn new(stream: UnixStream) -> Result<Self, ConnectionError> {
        stream.set_nonblocking(true).map_err(ConnectionError::Socket)?;
        let (incoming, outgoing) = (FrameBuffer::new(), Vec::new());
        Ok(Self { stream, incoming, outgoing, closed: false, receives: PhantomData })
    }

    /// The descriptor to wait for.
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

    /// Queues a message.
    pub fn send<O: Serialize>(&mut self, message: &O) -> Result<(), ConnectionError> {
        self.outgoing.extend(encode(message).map_err(ConnectionError::Encode)?);
        Ok(())
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_hang_up(&error) => {
                    // What the other side said before it left may still be read; that ends with its end.
                    self.outgoing.clear();
                }
                Err(error) => return Err(ConnectionError::Socket(error)),
            }
        }
        Ok(())
    }

    /// Reads once, for [`Self::next_message`] to hand out.
    pub fn fill(&mut self) -> Result<(), ConnectionError> {
        let mut buffer = [0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.incoming.push(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if is_hang_up(&error) => self.closed = true,
            Err(error) => return Err(ConnectionError::Socket(error)),
        }
        Ok(())
    }

    /// The next whole message.
    pub fn next_message(&mut self) -> Result<Option<I>, ConnectionError> {
        self.incoming.next_message().map_err(ConnectionError::Malformed)
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

//! The control connection to stage1.
//!
//! Responsible for: whole messages over a non-blocking socket, and saying when there is no room for more output. Must
//! not know: what the messages mean. Follows guest-api and vsock(7).

pub mod outgoing;
#[cfg(test)]
mod outgoing_test;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use guest_api::{
    CONTROL_PORT, FrameBuffer, FrameError, HOST_CID, MAX_INPUT_BYTES, MAX_OUTPUT_BYTES, Process, StdioStream,
    ToGuest, ToHost,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::{InitError, console, sentence};
use outgoing::{Outgoing, OutputBuffer};

/// Unsent bytes above which apps' output is left in their pipes. Four messages keep the device busy; more would only
/// turn the host's slowness into the guest's memory.
const OUTGOING_LIMIT: usize = 4 * MAX_OUTPUT_BYTES;

/// Bytes read at once: a message full of input, and the next one's beginning.
const RECEIVE_BYTES: usize = MAX_INPUT_BYTES + 4096;

/// How long the host may take to answer the call. It does so at once unless it is overloaded or stopped; the kernel's own limit of
/// 2 s would end the pod then. A host that waits for a guest gives it up after `RKT_HYPERVISOR_BOOT_TIMEOUT`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(100);

/// How long the last bytes may take to reach the host. A host that has waited for long enough ends the VM itself; this is the end
/// of the wait for one that does neither.
const LINGER: Duration = Duration::from_secs(60);

/// What a read of the connection brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes, possibly none, possibly whole messages: [`Control::next_message`].
    Bytes,
    /// The host closed the connection.
    Closed,
}

/// The connection and what is still to be written to it.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
    incoming: FrameBuffer,
    outgoing: Outgoing,
}

impl Control {
    /// Connects to the host.
    pub fn connect() -> Result<Self, InitError> {
        let failed = |error| InitError::Connection(io::Error::from(error));
        let socket =
            socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        limit_connect(&socket, CONNECT_TIMEOUT).map_err(InitError::Connection)?;
        connect(socket.as_raw_fd(), &VsockAddr::new(HOST_CID, CONTROL_PORT)).map_err(failed)?;
        Self::over(socket)
    }

    /// Speaks over a connected stream socket.
    pub fn over(socket: OwnedFd) -> Result<Self, InitError> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(|error| InitError::Connection(error.into()))?;
        Ok(Self { socket, incoming: FrameBuffer::new(), outgoing: Outgoing::default() })
    }

    /// Queues a message. A message that cannot be encoded is one that guest-init built wrongly: it is reported on the
    /// console and dropped, because there is nobody else to tell.
    pub fn queue(&mut self, message: &ToHost) {
        complain(self.outgoing.push(message));
    }

    /// Where to read bytes that a process wrote.
    pub fn output_buffer(&mut self) -> OutputBuffer {
        self.outgoing.buffer()
    }

    /// Queues so many bytes that a process wrote, or takes the buffer back.
    pub fn queue_output(
        &mut self,
        process: Process,
        stream: StdioStream,
        buffer: OutputBuffer,
        count: usize,
    ) {
        if count == 0 {
            return self.outgoing.give_back(buffer);
        }
        complain(self.outgoing.push_output(process, stream, buffer, count));
    }

    /// Whether more output may be queued.
    pub fn has_room(&self) -> bool {
        self.outgoing.unsent() < OUTGOING_LIMIT
    }

    /// What the event loop waits for.
    pub fn interest(&self) -> PollFlags {
        if self.outgoing.unsent() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Result<(), InitError> {
        while let Some(unsent) = self.outgoing.front() {
            match rustix::net::send(&self.socket, unsent, SendFlags::NOSIGNAL) {
                Ok(count) => self.outgoing.wrote(count),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(InitError::Connection(error.into())),
            }
        }
        Ok(())
    }

    /// Reads what has arrived.
    pub fn receive(&mut self) -> Result<Received, InitError> {
        let space = self.incoming.space();
        space.reserve(RECEIVE_BYTES);
        match rustix::io::read(&self.socket, rustix::buffer::spare_capacity(space)) {
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(InitError::Connection(error.into())),
        }
        Ok(Received::Bytes)
    }

    /// The next message that has arrived in full.
    pub fn next_message(&mut self) -> Result<Option<ToGuest>, InitError> {
        self.incoming.next_message().map_err(InitError::Protocol)
    }

    /// Waits for one message; for the time before there is anything else to wait for.
    pub fn wait_for_message(&mut self) -> Result<ToGuest, InitError> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            self.flush()?;
            self.wait(None)?;
            if let Received::Closed = self.receive()? {
                return Err(InitError::ConnectionClosed);
            }
        }
    }

    /// Sends what is queued and closes. Returns once the host's device has taken every byte (a closing vsock socket
    /// lingers until the peer confirms), so that a reset right after loses nothing; or after the linger time.
    pub fn close(mut self) -> Result<(), InitError> {
        let deadline = std::time::Instant::now() + LINGER;
        loop {
            self.flush()?;
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if self.outgoing.unsent() == 0 || left.is_zero() {
                break;
            }
            self.wait(Some(left))?;
        }
        rustix::io::ioctl_fionbio(&self.socket, false)
            .map_err(|error| InitError::Connection(error.into()))?;
        rustix::net::sockopt::set_socket_linger(&self.socket, Some(LINGER))
            .map_err(|error| InitError::Connection(error.into()))
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), InitError> {
        let timeout = timeout.and_then(|left| left.try_into().ok());
        match rustix::event::poll(&mut [PollFd::new(&self.socket, self.interest())], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(InitError::Connection(error.into())),
        }
    }
}

/// Sets `SO_VM_SOCKETS_CONNECT_TIMEOUT` (vsock(7); linux/vm_sockets.h).
fn limit_connect(socket: &OwnedFd, limit: Duration) -> io::Result<()> {
    const SO_VM_SOCKETS_CONNECT_TIMEOUT: libc::c_int = 6;

    let value = libc::timeval { tv_sec: limit.as_secs() as libc::time_t, tv_usec: 0 };
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of `value`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::AF_VSOCK,
            SO_VM_SOCKETS_CONNECT_TIMEOUT,
            (&raw const value).cast(),
            size,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn complain(queued: Result<(), FrameError>) {
    if let Err(error) = queued {
        console::say(&sentence(&InitError::Protocol(error)));
    }
}

/// What a message is called, for saying that it came at the wrong time.
pub fn name(message: &ToGuest) -> &'static str {
    match message {
        ToGuest::Configure(_) => "Configure",
        ToGuest::Credit { .. } => "Credit",
        ToGuest::Stop => "Stop",
        ToGuest::Exec(_) => "Exec",
        ToGuest::Input { .. } => "Input",
        ToGuest::InputClosed(_) => "InputClosed",
        ToGuest::Resize { .. } => "Resize",
        ToGuest::Signal { .. } => "Signal",
        ToGuest::HangUp(_) => "HangUp",
        ToGuest::Kill => "Kill",
        ToGuest::Tunnel(_) => "Tunnel",
        ToGuest::Clock { .. } => "Clock",
        ToGuest::StartApp(_) => "StartApp",
        ToGuest::StopApp(_) => "StopApp",
        ToGuest::ForgetApp(_) => "ForgetApp",
    }
}

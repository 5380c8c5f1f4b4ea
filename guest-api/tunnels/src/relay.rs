//! One tunnel: its socket on this side, and what is on its way.
//!
//! Responsible for: bytes between the socket and messages, and what the end of one direction means for the other. Must not
//! know: other tunnels, where the socket comes from. Follows guest-api ("tunnel") and shutdown(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_api::{Destination, MAX_TUNNEL_BYTES, TunnelId, TunnelMessage, TunnelState};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

/// Who this side's socket leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever connected.
    Client,
    /// What was connected to.
    Server,
}

/// A tunnel.
#[derive(Debug)]
pub struct Tunnel {
    destination: Destination,
    role: Role,
    /// None once it is of no more use, or if there never was one.
    socket: Option<OwnedFd>,
    state: TunnelState,
    /// The socket was told that nothing more comes.
    shut_down: bool,
}

enum Read {
    Data(Vec<u8>),
    Nothing,
    /// The socket says nothing more.
    End,
}

impl Tunnel {
    /// One that was just opened.
    pub fn new(destination: Destination, role: Role, socket: Option<OwnedFd>) -> Self {
        Self { destination, role, socket, state: TunnelState::new(), shut_down: false }
    }

    /// It has its socket, if there is one.
    pub fn connected(&mut self, socket: Option<OwnedFd>) {
        self.socket = socket;
    }

    /// Where it leads.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// What is known of it.
    pub fn state_mut(&mut self) -> &mut TunnelState {
        &mut self.state
    }

    /// Whether both sides have ended it.
    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// What of its socket is worth waiting for.
    pub fn interest(&self, room: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, room && self.state.may_send() > 0);
        flags.set(PollFlags::OUT, !self.state.waiting().is_empty());
        let socket = self.socket.as_ref().filter(|_| !flags.is_empty())?;
        Some((socket.as_fd(), flags))
    }

    /// Moves what can be moved without waiting, and says what to tell the other side.
    pub fn relay(&mut self, tunnel: TunnelId, room: bool, messages: &mut Vec<TunnelMessage>) {
        self.write();
        if let Some(bytes) = self.state.grant() {
            messages.push(TunnelMessage::Credit { tunnel, bytes });
        }
        let ended = match self.read(room) {
            Read::Data(data) => {
                messages.push(TunnelMessage::Data { tunnel, data });
                false
            }
            Read::Nothing => false,
            Read::End => true,
        };
        self.follow_ends(ended);
        if (ended || self.socket.is_none()) && self.state.end() {
            messages.push(TunnelMessage::End(tunnel));
        }
    }

    /// What the other side said, to the socket.
    fn write(&mut self) {
        let Some(socket) = &self.socket else { return self.state.drop_input() };
        while !self.state.waiting().is_empty() {
            match rustix::net::send(socket, self.state.waiting(), SendFlags::NOSIGNAL) {
                Ok(count) => self.state.wrote(count),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.state.drop_input();
                    // What a server has said can still be read; a client is gone.
                    if self.role == Role::Client {
                        self.socket = None;
                    }
                    return;
                }
            }
        }
    }

    /// What the socket said, for the other side.
    fn read(&mut self, room: bool) -> Read {
        let Some(socket) = self.socket.as_ref().filter(|_| room && self.state.may_send() > 0) else {
            return Read::Nothing;
        };
        let mut bytes = [0; MAX_TUNNEL_BYTES];
        let Some(buffer) = bytes.get_mut(..self.state.may_send()) else { return Read::Nothing };
        loop {
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Read::End,
                Ok((_, count)) => {
                    self.state.sent(count);
                    return Read::Data(buffer.get(..count).unwrap_or_default().to_vec());
                }
                Err(Errno::AGAIN) => return Read::Nothing,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.state.drop_input();
                    self.socket = None;
                    return Read::End;
                }
            }
        }
    }

    /// `ended`: the socket says nothing more.
    fn follow_ends(&mut self, ended: bool) {
        let whole = self.destination.ends_as_a_whole();
        if whole && ended && self.role == Role::Server {
            // Who has answered has no ear for more.
            self.state.drop_input();
            self.socket = None;
        }
        if !self.state.is_drained() {
            return;
        }
        if whole && self.role == Role::Client {
            self.socket = None;
        } else if let Some(socket) = self.socket.as_ref().filter(|_| !self.shut_down) {
            // One that is gone need not be told.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
            self.shut_down = true;
        }
    }
}

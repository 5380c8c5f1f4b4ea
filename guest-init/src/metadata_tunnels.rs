//! Connections of the pod's apps to the metadata service, which is on the host.
//!
//! Responsible for: listening where apps expect the service, and bytes both ways between their connections and tunnels. Must
//! not know: HTTP, the control connection. Follows guest-api ("tunnel") and tcp(7).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use guest_api::{
    MAX_TUNNEL_BYTES, MAX_TUNNELS, METADATA_ADDRESS, METADATA_PORT, ToGuest, ToHost, TunnelFault, TunnelId,
    TunnelState,
};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::InitError;

/// Connections that wait for others to end: as many apps as a pod may well have.
const BACKLOG: i32 = 128;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// All tunnels of the pod.
#[derive(Debug, Default)]
pub struct MetadataTunnels {
    /// If the pod uses the service.
    listener: Option<OwnedFd>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// The number to try first for the next one.
    next: u16,
}

#[derive(Debug)]
struct Tunnel {
    /// None once the app wants nothing more of it, or there is nothing more to come.
    socket: Option<OwnedFd>,
    state: TunnelState,
}

impl MetadataTunnels {
    /// Listens where apps expect the service.
    pub fn listen() -> Result<Self, InitError> {
        Self::listen_at(SocketAddrV4::new(METADATA_ADDRESS, METADATA_PORT))
    }

    pub(crate) fn listen_at(address: SocketAddrV4) -> Result<Self, InitError> {
        let doing = || format!("listen on {address} for the metadata service");
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)
            .map_err(InitError::kernel(doing()))?;
        sockopt::set_socket_reuseaddr(&listener, true).map_err(InitError::kernel(doing()))?;
        rustix::net::bind(&listener, &address).map_err(InitError::kernel(doing()))?;
        rustix::net::listen(&listener, BACKLOG).map_err(InitError::kernel(doing()))?;
        Ok(Self { listener: Some(listener), ..Self::default() })
    }

    /// Takes a message of the host's that is about a tunnel; others are none of its business. Then [`Self::relay`].
    pub fn receive(&mut self, message: &ToGuest) -> Result<(), InitError> {
        match message {
            ToGuest::TunnelData { tunnel, data } => self.with(*tunnel, |state| state.receive(data)),
            ToGuest::TunnelCredit { tunnel, bytes } => {
                self.with(*tunnel, |state| state.receive_credit(*bytes))
            }
            ToGuest::TunnelEnd(tunnel) => self.with(*tunnel, TunnelState::receive_end),
            _ => Ok(()),
        }
    }

    fn with(
        &mut self,
        id: TunnelId,
        change: impl FnOnce(&mut TunnelState) -> Result<(), TunnelFault>,
    ) -> Result<(), InitError> {
        let tunnel = self.tunnels.get_mut(&id).ok_or(InitError::UnknownTunnel(id.0))?;
        change(&mut tunnel.state).map_err(|fault| InitError::Tunnel { tunnel: id.0, fault })
    }

    /// What to wait for before the next [`Self::relay`]. Without `room` nothing is taken from apps.
    pub fn interests(&self, room: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut interests = Vec::new();
        if let Some(listener) = self.listener.as_ref().filter(|_| room && self.tunnels.len() < MAX_TUNNELS) {
            interests.push((listener.as_fd(), PollFlags::IN));
        }
        for Tunnel { socket, state } in self.tunnels.values() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room && state.may_send() > 0);
            flags.set(PollFlags::OUT, !state.waiting().is_empty());
            if let Some(socket) = socket.as_ref().filter(|_| !flags.is_empty()) {
                interests.push((socket.as_fd(), flags));
            }
        }
        interests
    }

    /// Moves what can be moved without waiting: at most one message of each tunnel to the host. Returns what to tell it.
    pub fn relay(&mut self, room: bool) -> Vec<ToHost> {
        let mut messages = Vec::new();
        while room && self.tunnels.len() < MAX_TUNNELS && self.accept(&mut messages) {}
        for (id, tunnel) in &mut self.tunnels {
            tunnel.write();
            if let Some(bytes) = tunnel.state.grant() {
                messages.push(ToHost::TunnelCredit { tunnel: *id, bytes });
            }
            let mut ended = false;
            match tunnel.read(room) {
                Read::Data(data) => messages.push(ToHost::TunnelData { tunnel: *id, data }),
                Read::Nothing => {}
                Read::End => ended = true,
            }
            if tunnel.state.is_drained() {
                // The service has closed the connection, and has no ear for more either.
                tunnel.socket = None;
            }
            if (ended || tunnel.socket.is_none()) && tunnel.state.end() {
                messages.push(ToHost::TunnelEnd(*id));
            }
        }
        self.tunnels.retain(|_, tunnel| !tunnel.state.is_over());
        messages
    }

    fn accept(&mut self, messages: &mut Vec<ToHost>) -> bool {
        let Some(listener) = &self.listener else { return false };
        let socket = match rustix::net::accept_with(listener, FLAGS) {
            Ok(socket) => socket,
            // Whoever hung up before being answered, or a lack of memory: the others are taken all the same.
            Err(_) => return false,
        };
        while self.tunnels.contains_key(&TunnelId(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let id = TunnelId(self.next);
        self.next = self.next.wrapping_add(1);
        self.tunnels.insert(id, Tunnel { socket: Some(socket), state: TunnelState::new() });
        messages.push(ToHost::TunnelOpened(id));
        true
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.tunnels.len()
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddrV4 {
        rustix::net::getsockname(self.listener.as_ref().unwrap()).unwrap().try_into().unwrap()
    }
}

enum Read {
    /// Bytes.
    Data(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The app says nothing more.
    End,
}

impl Tunnel {
    /// What the service said, to the app.
    fn write(&mut self) {
        let Some(socket) = &self.socket else { return self.state.drop_input() };
        while !self.state.waiting().is_empty() {
            match rustix::net::send(socket, self.state.waiting(), SendFlags::NOSIGNAL) {
                Ok(count) => self.state.wrote(count),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    // The app is gone.
                    self.state.drop_input();
                    self.socket = None;
                    return;
                }
            }
        }
    }

    /// What the app said, for the service.
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
}

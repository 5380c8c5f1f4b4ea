//! Connections of the pod's apps to the metadata service.
//!
//! Responsible for: a socket of the service for each tunnel that the guest opens, and bytes both ways. Must not know: HTTP, who
//! asks for what, any other service of the host. Follows guest-api ("tunnel") and docs/metadata-service.md.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use guest_api::{MAX_TUNNEL_BYTES, MAX_TUNNELS, ToGuest, ToHost, TunnelId, TunnelState};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};

use crate::guest::Violation;

/// Where the service answers pods. It is a file, so it is reached from whatever network name space the supervisor is in.
pub const SERVICE_SOCKET: &str = "/run/rkt/metadata-svc-public.sock";

/// All tunnels of a pod.
#[derive(Debug)]
pub struct MetadataTunnels {
    /// The service, if the pod uses it.
    service: Option<PathBuf>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
}

#[derive(Debug)]
struct Tunnel {
    /// None once the service has closed it, or if it was not there.
    socket: Option<OwnedFd>,
    state: TunnelState,
    /// The service was told that nothing more comes.
    shut_down: bool,
}

impl MetadataTunnels {
    /// None so far. Without a service none may be opened.
    pub fn new(service: Option<&Path>) -> Self {
        Self { service: service.map(Path::to_owned), tunnels: BTreeMap::new() }
    }

    /// Takes a message of the guest's that is about a tunnel; others are none of its business. Then [`Self::relay`].
    pub fn receive(&mut self, message: &ToHost) -> Result<(), Violation> {
        match message {
            ToHost::TunnelOpened(id) => self.open(*id),
            ToHost::TunnelData { tunnel, data } => self.with(*tunnel, |state| state.receive(data)),
            ToHost::TunnelEnd(tunnel) => self.with(*tunnel, TunnelState::receive_end),
            // It may cross the last end of a tunnel on the wire.
            ToHost::TunnelCredit { tunnel, .. } if !self.tunnels.contains_key(tunnel) => Ok(()),
            ToHost::TunnelCredit { tunnel, bytes } => {
                self.with(*tunnel, |state| state.receive_credit(*bytes))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, id: TunnelId) -> Result<(), Violation> {
        let taken = self.tunnels.contains_key(&id) || self.tunnels.len() >= MAX_TUNNELS;
        let Some(service) = self.service.as_ref().filter(|_| !taken) else {
            return Err(Violation::TunnelNotAllowed(id.0));
        };
        // A service that is not there ends the tunnel, and nothing else.
        let socket = connect(service).ok();
        self.tunnels.insert(id, Tunnel { socket, state: TunnelState::new(), shut_down: false });
        Ok(())
    }

    fn with(
        &mut self,
        id: TunnelId,
        change: impl FnOnce(&mut TunnelState) -> Result<(), guest_api::TunnelFault>,
    ) -> Result<(), Violation> {
        let tunnel = self.tunnels.get_mut(&id).ok_or(Violation::UnknownTunnel(id.0))?;
        change(&mut tunnel.state).map_err(|fault| Violation::Tunnel { tunnel: id.0, fault })
    }

    /// What to wait for before the next [`Self::relay`]. Without `room` nothing is read.
    pub fn interests(&self, room: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let of = |tunnel: &Tunnel| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room && tunnel.state.may_send() > 0);
            flags.set(PollFlags::OUT, !tunnel.state.waiting().is_empty());
            flags
        };
        let tunnels = self.tunnels.values().map(|tunnel| (tunnel, of(tunnel)));
        tunnels
            .filter(|(_, flags)| !flags.is_empty())
            .filter_map(|(tunnel, flags)| Some((tunnel.socket.as_ref()?.as_fd(), flags)))
            .collect()
    }

    /// Moves what can be moved without waiting: at most one message of each tunnel to the guest. Returns what to tell it.
    pub fn relay(&mut self, room: bool) -> Vec<ToGuest> {
        let mut messages = Vec::new();
        for (id, tunnel) in &mut self.tunnels {
            tunnel.write();
            if tunnel.socket.is_some()
                && let Some(bytes) = tunnel.state.grant()
            {
                messages.push(ToGuest::TunnelCredit { tunnel: *id, bytes });
            }
            if room && let Some(data) = tunnel.read() {
                messages.push(ToGuest::TunnelData { tunnel: *id, data });
            }
            // No credit after the end: the number may be given again once the guest has heard of it.
            if tunnel.socket.is_none() && tunnel.state.end() {
                messages.push(ToGuest::TunnelEnd(*id));
            }
        }
        self.tunnels.retain(|_, tunnel| !tunnel.state.is_over());
        messages
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.tunnels.len()
    }
}

impl Tunnel {
    /// What the guest said, to the service.
    fn write(&mut self) {
        let Some(socket) = &self.socket else { return self.state.drop_input() };
        while !self.state.waiting().is_empty() {
            match rustix::net::send(socket, self.state.waiting(), SendFlags::NOSIGNAL) {
                Ok(count) => self.state.wrote(count),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // Its answer, if it gave one, can still be read.
                Err(_) => self.state.drop_input(),
            }
        }
        if self.state.is_drained() && !std::mem::replace(&mut self.shut_down, true) {
            // A service that is gone need not be told.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
        }
    }

    /// What the service said, for the guest.
    fn read(&mut self) -> Option<Vec<u8>> {
        let socket = self.socket.as_ref().filter(|_| self.state.may_send() > 0)?;
        let mut bytes = [0; MAX_TUNNEL_BYTES];
        let buffer = bytes.get_mut(..self.state.may_send())?;
        loop {
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, count)) if count > 0 => {
                    self.state.sent(count);
                    return buffer.get(..count).map(<[u8]>::to_vec);
                }
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.state.drop_input();
        self.socket = None;
        None
    }
}

fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

//! Streams between a socket of the host's and one of the guest's, through the control connection: tunnels.
//!
//! Responsible for: accepting where others connect, connecting where the other side asks to, and bytes both ways, on either
//! side. Must not know: the control connection, what is said in a tunnel. Follows guest-api ("tunnel"), tcp(7) and unix(7).

mod pace;
mod relay;

#[cfg(test)]
mod pace_test;
#[cfg(test)]
mod tunnels_test;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use guest_api::{Destination, TunnelFault, TunnelId, TunnelMessage, TunnelState};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use pace::Pace;
use relay::{Role, Tunnel};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Connections that the host makes for a guest at once, and each second after that: an app asks the metadata service a few times
/// when it starts. A guest that opens and ends tunnels without pause would have the host do nothing but connect.
const BURST: u32 = 128;
const PER_SECOND: u32 = 64;

/// Which side of the control connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// stage1.
    Host,
    /// guest-init.
    Guest,
}

/// What a tunnel that the other side opens is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// An address that this side reaches by itself.
    Inet(SocketAddr),
}

/// What the other side must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// It opened a tunnel to where nothing is served, with a number that is taken or not its to give, or one too many.
    #[error("tunnel {0} was opened, which may not be")]
    NotAllowed(u16),
    /// It speaks of a tunnel that was not opened.
    #[error("there is no tunnel {0}")]
    Unknown(u16),
    /// More, or something else, than a tunnel takes.
    #[error("in tunnel {tunnel} came {fault}")]
    Fault {
        /// The tunnel.
        tunnel: u16,
        /// What came.
        fault: TunnelFault,
    },
}

#[derive(Debug)]
struct Listener {
    destination: Destination,
    socket: OwnedFd,
}

/// All tunnels of a pod, as one side sees them.
#[derive(Debug)]
pub struct Tunnels {
    side: Side,
    listeners: Vec<Listener>,
    targets: BTreeMap<Destination, Target>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// The number to try first for the next one.
    next: u16,
    /// On the host's side.
    pace: Option<Pace>,
    /// Tunnels that were opened faster than that, and wait for their connection.
    waiting: VecDeque<TunnelId>,
}

impl Tunnels {
    /// None so far, and nowhere to open one to.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            listeners: Vec::new(),
            targets: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            next: 0,
            pace: (side == Side::Host).then(|| Pace::new(BURST, PER_SECOND)),
            waiting: VecDeque::new(),
        }
    }

    /// From now on, whoever connects to `socket`, which listens, gets a tunnel to `destination` on the other side.
    pub fn listen(&mut self, destination: Destination, socket: OwnedFd) -> Result<(), Errno> {
        // It may have been somebody else's before, who waited in accept(2).
        rustix::io::ioctl_fionbio(&socket, true)?;
        self.listeners.push(Listener { destination, socket });
        Ok(())
    }

    /// From now on, the other side may open tunnels to `destination`, which is `target`.
    pub fn serve(&mut self, destination: Destination, target: Target) {
        self.targets.insert(destination, target);
    }

    /// Accepts nobody any more. Whoever has connected and was not accepted waits for the next one to listen.
    pub fn stop_listening(&mut self) {
        self.listeners.clear();
    }

    /// Takes a message of the other side's. Then [`Self::relay`].
    pub fn receive(&mut self, message: &TunnelMessage) -> Result<(), TunnelError> {
        match message {
            TunnelMessage::Opened { tunnel, destination } => self.open(*tunnel, *destination),
            TunnelMessage::Data { tunnel, data } => self.with(*tunnel, |state| state.receive(data)),
            TunnelMessage::End(tunnel) => self.with(*tunnel, TunnelState::receive_end),
            // It may cross the last end of a tunnel on the wire.
            TunnelMessage::Credit { tunnel, .. } if !self.tunnels.contains_key(tunnel) => Ok(()),
            TunnelMessage::Credit { tunnel, bytes } => {
                self.with(*tunnel, |state| state.receive_credit(*bytes))
            }
        }
    }

    fn open(&mut self, id: TunnelId, destination: Destination) -> Result<(), TunnelError> {
        let others = id.is_of_host() != (self.side == Side::Host);
        let free = !self.tunnels.contains_key(&id) && self.count(destination) < destination.limit();
        if !(others && free && self.targets.contains_key(&destination)) {
            return Err(TunnelError::NotAllowed(id.0));
        }
        self.tunnels.insert(id, Tunnel::new(destination, Role::Server, None));
        self.waiting.push_back(id);
        self.connect_waiting(Instant::now());
        Ok(())
    }

    fn connect_waiting(&mut self, now: Instant) {
        while let Some(id) = self.waiting.front()
            && self.pace.as_mut().is_none_or(|pace| pace.allows(now))
        {
            if let Some(tunnel) = self.tunnels.get_mut(id)
                && let Some(target) = self.targets.get(&tunnel.destination())
            {
                // A target that is not there ends the tunnel, and nothing else.
                tunnel.connected(connect(target).ok());
            }
            self.waiting.pop_front();
        }
    }

    /// When to come back even if nobody says anything.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.front().and(self.pace.as_ref()).and_then(Pace::when)
    }

    fn with(
        &mut self,
        id: TunnelId,
        change: impl FnOnce(&mut TunnelState) -> Result<(), TunnelFault>,
    ) -> Result<(), TunnelError> {
        let tunnel = self.tunnels.get_mut(&id).ok_or(TunnelError::Unknown(id.0))?;
        change(tunnel.state_mut()).map_err(|fault| TunnelError::Fault { tunnel: id.0, fault })
    }

    /// How many tunnels to a destination there are.
    pub fn count(&self, destination: Destination) -> usize {
        let same = |tunnel: &&Tunnel| tunnel.destination().shares_limit_with(destination);
        self.tunnels.values().filter(same).count()
    }

    /// What to wait for before the next [`Self::relay`]. Without `room` on the control connection nothing is read or accepted.
    pub fn interests(&self, room: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let listeners = self.listeners.iter().filter(|listener| room && self.may_accept(listener));
        let mut interests: Vec<_> =
            listeners.map(|listener| (listener.socket.as_fd(), PollFlags::IN)).collect();
        interests.extend(self.tunnels.values().filter_map(|tunnel| tunnel.interest(room)));
        interests
    }

    fn may_accept(&self, listener: &Listener) -> bool {
        self.count(listener.destination) < listener.destination.limit()
    }

    /// Moves what can be moved without waiting: at most one message's worth of each tunnel. Returns what to tell the other side.
    pub fn relay(&mut self, room: bool) -> Vec<TunnelMessage> {
        let mut messages = Vec::new();
        if room {
            for index in 0..self.listeners.len() {
                while self.accept(index, &mut messages) {}
            }
        }
        self.connect_waiting(Instant::now());
        for (id, tunnel) in self.tunnels.iter_mut().filter(|(id, _)| !self.waiting.contains(id)) {
            tunnel.relay(*id, room, &mut messages);
        }
        self.tunnels.retain(|_, tunnel| !tunnel.is_over());
        messages
    }

    fn accept(&mut self, index: usize, messages: &mut Vec<TunnelMessage>) -> bool {
        let Some(listener) = self.listeners.get(index).filter(|it| self.may_accept(it)) else { return false };
        let destination = listener.destination;
        // Whoever hung up before being answered, or a lack of memory: the others are taken all the same.
        let Ok(socket) = rustix::net::accept_with(&listener.socket, FLAGS) else { return false };
        let tunnel = self.free_number();
        self.tunnels.insert(tunnel, Tunnel::new(destination, Role::Client, Some(socket)));
        messages.push(TunnelMessage::Opened { tunnel, destination });
        true
    }

    /// Numbers are given in turn, so that what is still on its way about an old tunnel does not meet a new one of its number.
    fn free_number(&mut self) -> TunnelId {
        loop {
            let id = TunnelId::numbered(self.next, self.side == Side::Host);
            self.next = self.next.wrapping_add(1);
            if !self.tunnels.contains_key(&id) {
                return id;
            }
        }
    }
}

fn connect(target: &Target) -> rustix::io::Result<OwnedFd> {
    let stream = |family| rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None);
    let (socket, connected) = match target {
        Target::Unix(path) => {
            let socket = stream(AddressFamily::UNIX)?;
            let connected = rustix::net::connect(&socket, &SocketAddrUnix::new(path)?);
            (socket, connected)
        }
        Target::Inet(address) => {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = stream(family)?;
            let connected = rustix::net::connect(&socket, address);
            (socket, connected)
        }
    };
    match connected {
        // Whether it comes about is heard when something is written or read.
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

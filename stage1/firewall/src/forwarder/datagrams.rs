//! UDP through the forwarder.
//!
//! Responsible for: a socket towards the pod for each caller, so that answers find their way, until the caller has been silent for
//! long. Must not know: what datagrams say. Follows udp(7), RFC 4787.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;

/// Callers of one port at a time. One more takes the place of the one that has been silent for longest.
const MAX_CALLERS: usize = 128;

/// How long a caller that says nothing and hears nothing is remembered (RFC 4787, 4.3, wants two minutes at least).
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the silent ones are looked for.
pub const TICK: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Longest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Datagrams of one socket at a time, so that none of the others waits for long.
const BURST: usize = 64;

/// One port.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    target: SocketAddr,
    callers: Vec<Caller>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Caller {
    address: SocketAddr,
    socket: UdpSocket,
    last: Instant,
}

impl Datagrams {
    /// Carries what the socket, which does not block, receives to the target.
    pub fn new(socket: UdpSocket, target: SocketAddr) -> Self {
        Self { socket, target, callers: Vec::new(), buffer: vec![0; MAX_DATAGRAM] }
    }

    /// What to wait for.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let callers = self.callers.iter().map(|caller| caller.socket.as_fd());
        std::iter::once(self.socket.as_fd()).chain(callers)
    }

    /// Moves what has come, both ways. Datagrams that cannot be delivered are lost, as they may be.
    pub fn relay(&mut self) {
        let now = Instant::now();
        for _ in 0..BURST {
            let Ok((count, address)) = self.socket.recv_from(&mut self.buffer) else { break };
            let known = self.callers.iter().position(|caller| caller.address == address);
            let Some(index) = known.or_else(|| self.welcome(address, now)) else { continue };
            if let (Some(caller), Some(bytes)) = (self.callers.get_mut(index), self.buffer.get(..count)) {
                caller.last = now;
                let _ = caller.socket.send(bytes);
            }
        }
        for caller in &mut self.callers {
            for _ in 0..BURST {
                let Ok(count) = caller.socket.recv(&mut self.buffer) else { break };
                caller.last = now;
                let _ = self.socket.send_to(self.buffer.get(..count).unwrap_or_default(), caller.address);
            }
        }
        self.callers.retain(|caller| now.duration_since(caller.last) < PATIENCE);
    }

    fn welcome(&mut self, address: SocketAddr, now: Instant) -> Option<usize> {
        let any = match self.target {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let socket = UdpSocket::bind(any).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(self.target).ok()?;
        if self.callers.len() >= MAX_CALLERS {
            let silent = self.callers.iter().enumerate().min_by_key(|(_, caller)| caller.last);
            let index = silent.map(|(index, _)| index)?;
            self.callers.swap_remove(index);
        }
        self.callers.push(Caller { address, socket, last: now });
        self.callers.len().checked_sub(1)
    }
}

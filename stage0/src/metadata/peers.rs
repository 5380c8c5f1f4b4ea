//! Who is connected how often.
//!
//! Responsible for: a bound on the connections of each pod, so that one cannot take all of them. Must not know: requests. Follows
//! unix(7), SO_PEERCRED.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one process at a time. A pod's come from its supervisor, which makes 32 at most, and may make the next
/// one before the service has seen the end of the last.
const MAX_OF_PROCESS: usize = 64;
/// Connections of one address at a time: a quarter of all. It may be that of several pods, behind one host.
const MAX_OF_ADDRESS: usize = 256;

/// Somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of this host.
    Process(i32),
    /// Somebody in a network.
    Address(IpAddr),
}

impl Peer {
    const fn limit(self) -> usize {
        match self {
            Peer::Process(_) => MAX_OF_PROCESS,
            Peer::Address(_) => MAX_OF_ADDRESS,
        }
    }
}

/// All who are connected.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<Mutex<HashMap<Peer, usize>>>);

/// One connection; dropped at its end.
#[derive(Debug)]
pub struct Place {
    peers: Peers,
    peer: Peer,
}

impl Peers {
    /// A place for another connection of the peer; none if it has as many as it may.
    pub fn enter(&self, peer: Peer) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= peer.limit() {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place { peers: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counts.get_mut(&self.peer) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&self.peer);
        }
    }
}

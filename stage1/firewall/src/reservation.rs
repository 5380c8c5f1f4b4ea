//! Ports of the host that are a pod's from before it starts until its supervisor ends.
//!
//! Responsible for: taking them, so that neither another pod nor any program of the host can have one of them as well. Must not
//! know: who else there is, beyond that somebody has the port. Follows bind(2), ip(7), ipv6(7).
//!
//! The kernel's rules forward packets before any socket sees them, so two owners of a port would not notice each other. That is why
//! every forwarded port is bound too; the kernel then says who was first, and forgets it with the process, however it ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use nftables::Protocol;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::pod::Forward;

/// Connections that wait for the forwarder, which accepts them at once.
const BACKLOG: i32 = 128;

/// Why a port could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    /// Somebody has it.
    #[error("port {}-{address}:{port} is taken by {}", protocol_name(*protocol), owner_name(owner.as_deref()))]
    Taken {
        /// The protocol.
        protocol: Protocol,
        /// The address, an unspecified one for every address.
        address: IpAddr,
        /// The number.
        port: u16,
        /// The pod that has it, if the caller finds out.
        owner: Option<String>,
    },
    /// It could not be taken for another reason.
    #[error("cannot listen on port {}-{address}:{port}", protocol_name(*protocol))]
    Socket {
        /// The protocol.
        protocol: Protocol,
        /// The address.
        address: IpAddr,
        /// The number.
        port: u16,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn owner_name(pod: Option<&str>) -> String {
    pod.map_or_else(|| "a program on this host".to_owned(), |uuid| format!("pod {uuid}"))
}

/// A port of the host's, and what has it.
#[derive(Debug)]
pub struct Reserved {
    /// Where it leads.
    pub forward: Forward,
    /// Bound to it, and listening if it is of TCP.
    pub socket: OwnedFd,
}

/// All ports of a pod.
#[derive(Debug, Default)]
pub struct Reservation {
    /// One for each address.
    pub sockets: Vec<Reserved>,
}

impl Reservation {
    /// Takes the ports, all of them or none.
    pub fn make(forwards: &[Forward]) -> Result<Self, ReservationError> {
        let mut sockets = Vec::new();
        for forward in forwards {
            for address in addresses(forward) {
                let place = SocketAddr::new(address, forward.host_port);
                match bind(forward.protocol, place) {
                    Ok(socket) => sockets.push(Reserved { forward: *forward, socket }),
                    // A host without IPv6, which nobody asked for by name.
                    Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
                        if address.is_ipv6() && forward.host.is_none() => {}
                    Err(errno) => return Err(failed(forward, address, errno)),
                }
            }
        }
        Ok(Self { sockets })
    }

    /// The same ports once more, for another process to serve.
    pub fn try_clone(&self) -> io::Result<Self> {
        let clone = |it: &Reserved| Ok(Reserved { forward: it.forward, socket: it.socket.try_clone()? });
        Ok(Self { sockets: self.sockets.iter().map(clone).collect::<io::Result<_>>()? })
    }
}

fn addresses(forward: &Forward) -> Vec<IpAddr> {
    let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    match forward.host {
        None => every.to_vec(),
        Some(address) => vec![address],
    }
}

fn failed(forward: &Forward, address: IpAddr, errno: Errno) -> ReservationError {
    let Forward { protocol, host_port: port, .. } = *forward;
    match errno {
        Errno::ADDRINUSE => ReservationError::Taken { protocol, address, port, owner: None },
        other => ReservationError::Socket { protocol, address, port, cause: other.into() },
    }
}

fn bind(protocol: Protocol, place: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if place.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
        sockopt::set_ipv6_freebind(&socket, true)?;
    } else {
        // Rules may be made for an address that the host gets later.
        sockopt::set_ip_freebind(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of a pod that has just ended are no reason to refuse the next one; a listener still is.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &place)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

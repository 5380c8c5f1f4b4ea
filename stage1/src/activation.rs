//! Sockets that a service manager has passed to rkt, for the apps of the pod: socket activation.
//!
//! Responsible for: taking them over, and which of an app's ports each of them is. Must not know: how a connection gets to the
//! app (crate `tunnels`, guest-init). Follows sd_listen_fds(3), systemd.socket(5) and rkt-reference 6.10.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, OwnedFd};

use appc::{App, ExposedPort, Port};
use guest_api::{ListeningSocket, MAX_LISTENING_SOCKETS};
use rustix::net::{SocketType, sockopt};

/// The protocol of ports whose sockets can be passed on.
const STREAM: &str = "tcp";

/// Why sockets cannot be passed to the apps.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// `LISTEN_FDS` and its like are not what they should be.
    #[error("cannot use the sockets of the service manager")]
    Protocol(#[source] std::io::Error),
    /// One is of no use.
    #[error(
        "cannot use descriptor {0} of the service manager: it is no socket that listens for TCP connections"
    )]
    NotListening(usize),
    /// A port of datagrams.
    #[error(
        "port {0:?} is socket-activated and not TCP: datagram sockets cannot be passed into a virtual machine"
    )]
    Datagrams(String),
    /// More than an app may have.
    #[error("the app has {0} socket-activated ports, at most {MAX_LISTENING_SOCKETS} are possible")]
    TooMany(usize),
}

/// A socket that came with rkt.
#[derive(Debug)]
pub struct PassedSocket {
    /// It listens.
    pub descriptor: OwnedFd,
    /// Where it does.
    pub address: SocketAddr,
}

/// Takes over what the service manager passed to this process, if it did.
pub fn take() -> Result<Vec<PassedSocket>, ActivationError> {
    let numbers = sd_notify::listen_fds().map_err(ActivationError::Protocol)?;
    numbers
        .enumerate()
        .map(|(index, number)| {
            // SAFETY: `listen_fds` has just worked on these descriptors, so they are open; they are this process's by the
            // protocol of sd_listen_fds(3), and nothing else in it uses them.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            let address = listens_at(&descriptor).ok_or(ActivationError::NotListening(index))?;
            Ok(PassedSocket { descriptor, address })
        })
        .collect()
}

fn listens_at(socket: &OwnedFd) -> Option<SocketAddr> {
    let is_stream = sockopt::socket_type(socket).ok()? == SocketType::STREAM;
    let listens = is_stream && sockopt::socket_acceptconn(socket).ok()?;
    SocketAddr::try_from(rustix::net::getsockname(socket).ok().filter(|_| listens)?).ok()
}

/// The sockets that an app is started with, and what to tell the user of them. `passed` are the addresses of those that came with
/// rkt; the number of one is its index there. Ports that none belongs to get one that listens on the pod's networks.
pub fn sockets(
    section: &App,
    exposed: &[ExposedPort],
    passed: &[SocketAddr],
) -> Result<(Vec<ListeningSocket>, Vec<String>), ActivationError> {
    let mut sockets = Vec::new();
    let mut warnings = Vec::new();
    for port in section.ports.iter().filter(|port| port.socket_activated) {
        if port.protocol != STREAM {
            return Err(ActivationError::Datagrams(port.name.to_string()));
        }
        let number = match host_port(port, exposed) {
            Some(number) => number,
            None => {
                let (name, number) = (port.name.as_str(), in_pod(port));
                warnings.push(format!(
                    "warning: no host port for socket-activated port {name:?}, taking {number} (see --port)"
                ));
                number
            }
        };
        let before = sockets.len();
        for (index, address) in (0..).zip(passed).filter(|(_, address)| address.port() == number) {
            sockets.push(listening(port, loopback(*address), Some(index)));
        }
        if sockets.len() == before {
            let anywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, in_pod(port)));
            sockets.push(listening(port, anywhere, None));
        }
    }
    if sockets.len() > MAX_LISTENING_SOCKETS {
        return Err(ActivationError::TooMany(sockets.len()));
    }
    Ok((sockets, warnings))
}

/// As systemd in the pod would have had it: the app finds the socket by the number that it has on the host.
fn host_port(port: &Port, exposed: &[ExposedPort]) -> Option<u16> {
    let of_host = exposed.iter().find(|it| it.name == port.name)?;
    u16::try_from(of_host.host_port).ok().filter(|number| *number != 0)
}

fn in_pod(port: &Port) -> u16 {
    u16::try_from(port.port).unwrap_or_default()
}

/// The same family and port, where nobody but the host's connections and the pod's own apps come.
fn loopback(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

fn listening(port: &Port, address: SocketAddr, number: Option<u16>) -> ListeningSocket {
    ListeningSocket { name: port.name.to_string(), address, number }
}

/// The numbers of those sockets of the service manager that apps are started with.
pub fn used<'a>(sockets: impl Iterator<Item = &'a ListeningSocket>) -> BTreeSet<u16> {
    sockets.filter_map(|socket| socket.number).collect()
}

//! Whom a pod may call.
//!
//! Responsible for: the form in which stage1 is told. Must not know: names, which rkt has looked up before. Follows
//! docs/networking.md, "Egress".

use std::fmt;
use std::str::FromStr;

use nftables::{Ports, Protocol, Subnet};

/// Addresses, and ports of them, that a pod may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// By which protocol; by any if there is none.
    pub protocol: Option<Protocol>,
    /// The addresses.
    pub subnet: Subnet,
    /// The ports; all of them, and all protocols without ports, if there are none.
    pub ports: Option<Ports>,
}

/// A text that is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no destination, which is written [tcp:|udp:]ADDRESS[/BITS][:PORT[-PORT]], an IPv6 address in brackets"
)]
pub struct DestinationError(String);

/// `[tcp:|udp:]ADDRESS[/BITS][:PORT[-PORT]]`, IPv6 addresses in brackets: `[fd00::]/8:443`.
impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        parse(text).ok_or_else(|| DestinationError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Destination> {
    let (protocol, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (Some(Protocol::Tcp), rest),
        Some(("udp", rest)) => (Some(Protocol::Udp), rest),
        _ => (None, text),
    };
    let (address, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(address, _)| address.contains(':'))?,
        None => rest.split_at(rest.find(['/', ':']).unwrap_or(rest.len())),
    };
    let (length, rest) = match rest.strip_prefix('/') {
        Some(rest) => {
            let (length, rest) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            (format!("/{length}"), rest)
        }
        None => (String::new(), rest),
    };
    let ports = match rest.strip_prefix(':') {
        Some(ports) => Some(parse_ports(ports)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let subnet = format!("{address}{length}").parse().ok()?;
    Some(Destination { protocol, subnet, ports })
}

fn parse_ports(text: &str) -> Option<Ports> {
    let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = Ports { first: number(first)?, last: number(last)? };
    (ports.first <= ports.last).then_some(ports)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(Protocol::Tcp) => f.write_str("tcp:")?,
            Some(Protocol::Udp) => f.write_str("udp:")?,
            None => {}
        }
        let (address, length) = (self.subnet.address(), self.subnet.length());
        match address.is_ipv4() {
            true => write!(f, "{address}/{length}")?,
            false => write!(f, "[{address}]/{length}")?,
        }
        match self.ports {
            Some(ports) if ports.first == ports.last => write!(f, ":{}", ports.first),
            Some(ports) => write!(f, ":{}-{}", ports.first, ports.last),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "egress_test.rs"]
mod egress_test;

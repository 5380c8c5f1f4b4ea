//! `--egress`.
//!
//! Responsible for: its grammar. Must not know: what a name's addresses are; how anything is enforced. Follows docs/networking.md,
//! "Egress".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name that can be looked up (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Whom the pod may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Egress {
    /// Nobody.
    Deny,
    /// These.
    Allow(Vec<Destination>),
}

/// Somebody the pod may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `tcp` or `udp`; both if there is none.
    pub protocol: Option<&'static str>,
    /// Who.
    pub host: Host,
    /// `PORT` or `PORT-PORT`; every port if there is none.
    pub ports: Option<String>,
}

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, or all whose first bits are the same.
    Address(IpAddr, u8),
    /// Whatever the name means when the pod starts.
    Name(String),
}

/// `deny`, or `allow:` and destinations with commas between them.
impl FromStr for Egress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "deny" {
            return Ok(Egress::Deny);
        }
        let list = text
            .strip_prefix("allow:")
            .ok_or_else(|| format!("{text:?} is neither \"deny\" nor \"allow:\" and destinations"))?;
        list.split(',').map(str::parse).collect::<Result<_, _>>().map(Egress::Allow)
    }
}

/// `[tcp:|udp:]HOST[/BITS][:PORT[-PORT]]`; HOST is a name, an IPv4 address or an IPv6 address in brackets.
impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            format!(
                "{text:?} is not in [tcp:|udp:]HOST[/BITS][:PORT[-PORT]] format (HOST is a name, an address, or an IPv6 address in brackets)"
            )
        })
    }
}

fn parse(text: &str) -> Option<Destination> {
    let (protocol, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (Some("tcp"), rest),
        Some(("udp", rest)) => (Some("udp"), rest),
        _ => (None, text),
    };
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (Host::Address(IpAddr::V6(address.parse().ok()?), 128), rest)
        }
        None => {
            let (host, rest) = rest.split_at(rest.find(['/', ':']).unwrap_or(rest.len()));
            (parse_host(host)?, rest)
        }
    };
    let (host, rest) = match (host, rest.strip_prefix('/')) {
        (Host::Address(address, most), Some(rest)) => {
            let (bits, rest) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
            (Host::Address(first(address, bits), bits), rest)
        }
        (Host::Name(_), Some(_)) => return None,
        (host, None) => (host, rest),
    };
    let ports = match rest.strip_prefix(':') {
        Some(ports) => Some(parse_ports(ports)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some(Destination { protocol, host, ports })
}

fn parse_host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse() {
        return Some(Host::Address(IpAddr::V4(address), 32));
    }
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // The last part of a name is no number, so "10.0.0" and "1.2.3.256" are addresses with a mistake in them.
    let last_is_number =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    let valid = text.len() <= MAX_NAME_BYTES && !last_is_number && text.split('.').all(is_label);
    valid.then(|| Host::Name(text.to_owned()))
}

fn parse_ports(text: &str) -> Option<String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then(|| if first == last { first.to_string() } else { format!("{first}-{last}") })
}

/// The first address of those that share so many bits.
fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

/// As stage1 reads it, once names are addresses.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            write!(f, "{protocol}:")?;
        }
        match &self.host {
            Host::Address(IpAddr::V4(address), bits) => write!(f, "{address}/{bits}")?,
            Host::Address(IpAddr::V6(address), bits) => write!(f, "[{address}]/{bits}")?,
            Host::Name(name) => f.write_str(name)?,
        }
        match &self.ports {
            Some(ports) => write!(f, ":{ports}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "egress_test.rs"]
mod egress_test;

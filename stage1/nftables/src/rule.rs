//! Rules: what a packet has to be like, and what happens to it.
//!
//! Responsible for: which steps each condition and each verdict consists of. Must not know: chains,
//! transactions. Follows nft(8), "EXPRESSIONS" and "STATEMENTS".

use std::net::IpAddr;

use crate::attributes::Attributes;
use crate::batch::{Family, Table};
use crate::expression::{
    Comparison, Connection, ConnectionState, Expression, Header, Meta, NFPROTO_IPV4, NFPROTO_IPV6, Refusal,
    Register, list,
};
use crate::subnet::Subnet;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;

/// Longest name of an interface, with the NUL behind it (linux/if.h).
const IFNAMSIZ: usize = 16;

/// `RTN_LOCAL` of linux/rtnetlink.h: the address is one of this host's.
const RTN_LOCAL: u32 = 2;

/// `IPS_DST_NAT` of linux/netfilter/nf_conntrack_common.h: where the connection leads was changed.
const IPS_DST_NAT: u32 = 1 << 5;

/// Protocols of linux/if_ether.h.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last, the same one often.
    pub last: u16,
}

impl From<u16> for Ports {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It came in by the interface of this name.
    From(String),
    /// It goes out by another interface than the one of this name.
    NotOutBy(String),
    /// It is an IPv4 packet, or an IPv6 one, as this address is.
    FamilyOf(IpAddr),
    /// Its source is in the subnet.
    Source(Subnet),
    /// Its destination is in the subnet.
    Destination(Subnet),
    /// Its destination is of the subnet's family and not in it.
    NotDestination(Subnet),
    /// Its destination is an address of this host's.
    DestinationIsHere,
    /// It is of this protocol.
    Protocol(Protocol),
    /// It is no IP packet but asks for, or tells, the hardware address of an IPv4 address; on bridges only.
    Arp,
    /// It is an ICMPv6 message of this type.
    Icmpv6(u8),
    /// It goes to one of these ports; together with [`Match::Protocol`].
    DestinationPort(Ports),
    /// Its connection is in one of the states.
    State(ConnectionState),
    /// Where its connection leads was changed.
    Redirected,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next table.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone and its sender is told.
    Reject(Refusal),
    /// Its connection leads to this address, and to this port if there is one.
    Redirect(IpAddr, Option<u16>),
    /// Its connection seems to come from this host.
    Masquerade,
}

/// A rule; its conditions hold all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// What happens if they hold.
    pub verdict: Verdict,
}

impl Rule {
    /// A rule for every packet.
    pub fn always(verdict: Verdict) -> Self {
        Self { matches: Vec::new(), verdict }
    }

    /// The rule with one more condition.
    pub fn when(mut self, condition: Match) -> Self {
        self.matches.push(condition);
        self
    }

    pub(crate) fn attributes(&self, table: Table<'_>, chain: &str) -> Attributes {
        Attributes::new()
            .text(NFTA_RULE_TABLE, table.name)
            .text(NFTA_RULE_CHAIN, chain)
            .nested(NFTA_RULE_EXPRESSIONS, &list(&self.expressions(table.family)))
    }

    fn expressions(&self, table: Family) -> Vec<Expression> {
        let mut steps: Vec<Expression> = self.matches.iter().flat_map(|it| condition(it, table)).collect();
        // What was dropped is worth a number: it is the first thing to look at when something does not get through.
        if matches!(self.verdict, Verdict::Drop | Verdict::Reject(_)) {
            steps.push(Expression::Counter);
        }
        match self.verdict {
            Verdict::Accept => steps.push(Expression::Verdict(1)),
            Verdict::Drop => steps.push(Expression::Verdict(0)),
            Verdict::Reject(how) => steps.push(Expression::Reject(how)),
            Verdict::Masquerade => steps.push(Expression::Masquerade),
            Verdict::Redirect(address, port) => {
                steps.push(Expression::Immediate(Register::One, octets(address)));
                if let Some(port) = port {
                    steps.push(Expression::Immediate(Register::Two, port.to_be_bytes().to_vec()));
                }
                let nat = Expression::DestinationNat { family: family(address), with_port: port.is_some() };
                steps.push(nat);
            }
        }
        steps
    }
}

fn condition(condition: &Match, table: Family) -> Vec<Expression> {
    use Comparison::{AtLeast, AtMost, Different, Equal};
    match condition {
        Match::From(name) => {
            vec![Expression::Meta(Meta::InputName), Expression::Compare(Equal, interface(name))]
        }
        Match::NotOutBy(name) => {
            vec![Expression::Meta(Meta::OutputName), Expression::Compare(Different, interface(name))]
        }
        Match::FamilyOf(address) => of_family(*address, table),
        Match::Source(subnet) => address(subnet, Side::Source, Equal, table),
        Match::Destination(subnet) => address(subnet, Side::Destination, Equal, table),
        Match::NotDestination(subnet) => address(subnet, Side::Destination, Different, table),
        Match::DestinationIsHere => {
            let local = RTN_LOCAL.to_ne_bytes().to_vec();
            vec![Expression::DestinationType, Expression::Compare(Equal, local)]
        }
        Match::Protocol(protocol) => transport(protocol.number()),
        Match::Arp => ethertype(ETH_P_ARP),
        Match::Icmpv6(kind) => {
            let mut steps = transport(58);
            steps.push(payload(Header::Transport, 0, 1));
            steps.push(Expression::Compare(Equal, vec![*kind]));
            steps
        }
        Match::DestinationPort(ports) if ports.first == ports.last => {
            vec![
                payload(Header::Transport, 2, 2),
                Expression::Compare(Equal, ports.first.to_be_bytes().to_vec()),
            ]
        }
        Match::DestinationPort(ports) => vec![
            payload(Header::Transport, 2, 2),
            Expression::Compare(AtLeast, ports.first.to_be_bytes().to_vec()),
            Expression::Compare(AtMost, ports.last.to_be_bytes().to_vec()),
        ],
        Match::State(states) => bits(Connection::State, states.0),
        Match::Redirected => bits(Connection::Status, IPS_DST_NAT),
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn address(subnet: &Subnet, side: Side, how: Comparison, table: Family) -> Vec<Expression> {
    let address = subnet.address();
    let (offset, length) = match (address, side) {
        (IpAddr::V4(_), Side::Source) => (12, 4),
        (IpAddr::V4(_), Side::Destination) => (16, 4),
        (IpAddr::V6(_), Side::Source) => (8, 16),
        (IpAddr::V6(_), Side::Destination) => (24, 16),
    };
    let mut steps = of_family(address, table);
    steps.push(payload(Header::Network, offset, length));
    if !subnet.is_one_address() {
        steps.push(Expression::Mask(subnet.mask()));
    }
    steps.push(Expression::Compare(how, octets(address)));
    steps
}

fn of_family(address: IpAddr, table: Family) -> Vec<Expression> {
    if table == Family::Bridge {
        // There the family is always the bridge's.
        return ethertype(if address.is_ipv4() { ETH_P_IP } else { ETH_P_IPV6 });
    }
    vec![Expression::Meta(Meta::Family), Expression::Compare(Comparison::Equal, vec![family(address)])]
}

fn ethertype(number: u16) -> Vec<Expression> {
    let number = number.to_be_bytes().to_vec();
    vec![Expression::Meta(Meta::Ethertype), Expression::Compare(Comparison::Equal, number)]
}

fn transport(number: u8) -> Vec<Expression> {
    vec![Expression::Meta(Meta::Transport), Expression::Compare(Comparison::Equal, vec![number])]
}

fn bits(of: Connection, bits: u32) -> Vec<Expression> {
    vec![
        Expression::Connection(of),
        Expression::Mask(bits.to_ne_bytes().to_vec()),
        Expression::Compare(Comparison::Different, vec![0; 4]),
    ]
}

fn payload(header: Header, offset: u32, length: u32) -> Expression {
    Expression::Payload { header, offset, length, to: Register::One }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(IFNAMSIZ, 0);
    bytes
}

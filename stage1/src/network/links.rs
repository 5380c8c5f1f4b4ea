//! An interface as a plugin left it: what the guest is to make its card like.
//!
//! Responsible for: reading hardware address, MTU, addresses, routes and rules out of the pod's name space, and leaving out what a
//! kernel makes by itself. Must not know: plugins; the kernel's state is what they did, whatever they say. Follows rtnetlink(7).

use std::net::IpAddr;

use guest_api::{AddressSpec, InterfaceSpec, Prefix, RouteSpec, RuleSpec};
use netlink::route::address::{AddressAttribute, AddressMessage};
use netlink::route::link::{
    InfoData, InfoIpVlan, InfoKind, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use netlink::route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink::route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink::route::{AddressFamily, RouteNetlinkMessage};
use netlink::{Connection, NetlinkError};

/// The table that holds the machine's own addresses (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// Bits of the subnet of link-local addresses (RFC 4291, 2.5.6).
const LINK_LOCAL_BITS: u8 = 64;

/// An interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its name space.
    pub index: u32,
    /// What the guest is told. A hardware address that is not Ethernet's is all zero.
    pub spec: InterfaceSpec,
    /// It is an Ethernet interface.
    pub is_ethernet: bool,
    /// Packets for it arrive in the name space's own network stack, and not before as frames.
    pub is_routed: bool,
    /// The number of the other end, in that one's name space, if it is one end of a pair.
    pub peer: Option<u32>,
    /// What the guest cannot be given.
    pub left_out: Vec<String>,
}

/// The interface of this name, if there is one.
pub fn read(kernel: &mut Connection, name: &str) -> Result<Option<Link>, NetlinkError> {
    let Some(link) = find(kernel, name)? else { return Ok(None) };
    let index = link.header.index;
    let (mut mac, mut mtu) = ([0; 6], 0);
    let (peer, is_routed) = (peer(&link), is_routed(&link));
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => mac = bytes.try_into().unwrap_or([0; 6]),
            LinkAttribute::Mtu(bytes) => mtu = u16::try_from(bytes).unwrap_or(u16::MAX),
            _ => {}
        }
    }
    let mut left_out = Vec::new();
    let addresses = addresses(kernel, index)?;
    let routes = routes(kernel, index, &mut left_out)?;
    let is_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    let no_arp = link.header.flags.contains(LinkFlags::Noarp);
    let spec = InterfaceSpec { name: name.to_owned(), mac, mtu, addresses, routes, no_arp };
    Ok(Some(Link { index, spec, is_ethernet, is_routed, peer, left_out }))
}

/// An interface of the host's by which a pod's packets come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSide {
    /// Its name.
    pub name: String,
    /// It is this pod's alone.
    pub own: bool,
    /// If it is a bridge, the pod's port of it.
    pub port: Option<String>,
}

/// The host's side of an interface of a pod's. There is none if the interface's frames do not come through one of the host's.
pub fn host_side(kernel: &mut Connection, link: &Link) -> Result<Option<HostSide>, NetlinkError> {
    let Some(number) = link.peer else { return Ok(None) };
    let links = list(kernel)?;
    // Both ends name each other, or the other end is in a third name space.
    let end = links.iter().find(|it| it.header.index == number && peer(it) == Some(link.index));
    let Some(end) = end else { return Ok(None) };
    let controller = end.attributes.iter().find_map(|it| match it {
        LinkAttribute::Controller(number) => links.iter().find(|it| it.header.index == *number),
        _ => None,
    });
    let own = controller.is_none();
    let port = controller.filter(|it| is_bridge(it)).and_then(|_| name(end)).map(str::to_owned);
    Ok(name(controller.unwrap_or(end)).map(|name| HostSide { name: name.to_owned(), own, port }))
}

/// The number of the other end, if the interface is an end of a pair.
fn peer(link: &LinkMessage) -> Option<u32> {
    let is_pair = link.attributes.iter().any(|it| match it {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
        _ => false,
    });
    link.attributes.iter().find_map(|it| match it {
        LinkAttribute::Link(number) if is_pair => Some(*number),
        _ => None,
    })
}

/// Other kinds of switches have ports, too, and pass by the kernel's packet filter.
fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|it| match it {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    })
}

/// Whether it is an ipvlan interface of mode L3S, which takes packets over where the host's stack delivers them.
fn is_routed(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|it| match it {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| match info {
            LinkInfo::Data(InfoData::IpVlan(data)) => data.contains(&InfoIpVlan::Mode(IpVlanMode::L3S)),
            _ => false,
        }),
        _ => false,
    })
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The number of the interface of this name.
pub fn index_of(kernel: &mut Connection, name: &str) -> Result<Option<u32>, NetlinkError> {
    Ok(find(kernel, name)?.map(|link| link.header.index))
}

fn find(kernel: &mut Connection, wanted: &str) -> Result<Option<LinkMessage>, NetlinkError> {
    Ok(list(kernel)?.into_iter().find(|link| name(link) == Some(wanted)))
}

fn list(kernel: &mut Connection) -> Result<Vec<LinkMessage>, NetlinkError> {
    let links = kernel.list(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let links = links.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        _ => None,
    });
    Ok(links.collect())
}

fn addresses(kernel: &mut Connection, index: u32) -> Result<Vec<AddressSpec>, NetlinkError> {
    let answers = kernel.list(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let of_link = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(address) if address.header.index == index => Some(address),
        _ => None,
    });
    Ok(of_link.filter_map(|address| address_spec(&address)).collect())
}

/// The address, unless it is the one that every kernel gives itself.
fn address_spec(message: &AddressMessage) -> Option<AddressSpec> {
    let (mut local, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            _ => {}
        }
    }
    let address = local.or(other).filter(|address| !is_link_local(*address))?;
    let prefix = Prefix { address, length: message.header.prefix_len };
    Some(AddressSpec { prefix, scope: message.header.scope.into() })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn routes(
    kernel: &mut Connection,
    index: u32,
    left_out: &mut Vec<String>,
) -> Result<Vec<RouteSpec>, NetlinkError> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut all = RouteMessage::default();
        all.header.address_family = family;
        for answer in kernel.list(RouteNetlinkMessage::GetRoute(all))? {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            match route_spec(&route, index) {
                Read::Is(spec) => routes.push(spec),
                Read::CannotBe(what) => left_out.push(what),
                Read::IsNot => {}
            }
        }
    }
    // A gateway can only be named once there is a route to it.
    routes.sort_by_key(|route| route.gateway.is_some());
    Ok(routes)
}

/// What a message of the kernel says.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// This.
    Is(T),
    /// Something that the guest is not told: it is another interface's, or the guest's kernel makes it by itself.
    IsNot,
    /// Something that the guest cannot be told.
    CannotBe(String),
}

/// A route over the interface with this number.
pub fn route_spec(message: &RouteMessage, index: u32) -> Read<RouteSpec> {
    let header = &message.header;
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    let mut route = RouteSpec {
        destination: Prefix { address: unspecified, length: header.destination_prefix_length },
        gateway: None,
        source: None,
        scope: header.scope.into(),
        table: u32::from(header.table),
        metric: None,
        mtu: None,
        onlink: header.flags.contains(RouteFlags::Onlink),
    };
    let (mut over, mut unknown) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(it) => {
                route.destination.address = address(it).unwrap_or(unspecified);
            }
            RouteAttribute::Gateway(it) => route.gateway = address(it),
            RouteAttribute::PrefSource(it) => route.source = address(it),
            RouteAttribute::Oif(it) => over = Some(*it),
            RouteAttribute::Priority(it) => route.metric = Some(*it),
            RouteAttribute::Table(it) => route.table = *it,
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::Via(_) => unknown = Some("a gateway of another protocol"),
            RouteAttribute::MultiPath(_) => unknown = Some("several gateways"),
            RouteAttribute::Encap(_) => unknown = Some("a tunnel"),
            _ => {}
        }
    }
    let is_own = matches!(over, Some(over) if over == index);
    let is_automatic = header.protocol == RouteProtocol::Kernel
        && is_link_local(route.destination.address)
        && route.destination.length == LINK_LOCAL_BITS;
    let is_learned = matches!(header.protocol, RouteProtocol::Ra | RouteProtocol::IcmpRedirect)
        || header.flags.contains(RouteFlags::Cloned);
    if header.kind != RouteType::Unicast || route.table == LOCAL_TABLE || is_automatic || is_learned {
        return Read::IsNot;
    }
    match unknown {
        Some(what) if is_own || over.is_none() => {
            Read::CannotBe(format!("the route to {} with {what}", route.destination))
        }
        None if is_own => Read::Is(route),
        _ => Read::IsNot,
    }
}

/// The name space's own rules, and what the guest cannot be told of them.
pub fn rules(kernel: &mut Connection) -> Result<(Vec<RuleSpec>, Vec<String>), NetlinkError> {
    let (mut rules, mut left_out) = (Vec::new(), Vec::new());
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut all = RuleMessage::default();
        all.header.family = family;
        for answer in kernel.list(RouteNetlinkMessage::GetRule(all))? {
            let RouteNetlinkMessage::NewRule(rule) = answer else { continue };
            match rule_spec(&rule) {
                Read::Is(spec) => rules.push(spec),
                Read::CannotBe(what) => left_out.push(what),
                Read::IsNot => {}
            }
        }
    }
    Ok((rules, left_out))
}

/// A rule that a plugin has made.
pub fn rule_spec(message: &RuleMessage) -> Read<RuleSpec> {
    let header = &message.header;
    let mut rule = RuleSpec {
        ipv6: header.family == AddressFamily::Inet6,
        priority: 0,
        source: None,
        destination: None,
        table: u32::from(header.table),
    };
    let (mut by_kernel, mut unknown) = (false, header.action != RuleAction::ToTable);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => {
                rule.source = Some(Prefix { address: *address, length: header.src_len });
            }
            RuleAttribute::Destination(address) => {
                rule.destination = Some(Prefix { address: *address, length: header.dst_len });
            }
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(protocol) => by_kernel = *protocol == RouteProtocol::Kernel,
            RuleAttribute::FwMark(_)
            | RuleAttribute::Iifname(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::Goto(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::L3MDev(true) => unknown = true,
            _ => {}
        }
    }
    if by_kernel {
        Read::IsNot
    } else if unknown {
        Read::CannotBe(format!("the routing rule of priority {}", rule.priority))
    } else {
        Read::Is(rule)
    }
}

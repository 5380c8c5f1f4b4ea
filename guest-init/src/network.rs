//! The pod's networks as the guest's kernel has them: names, addresses, routes and rules of its cards.
//!
//! Responsible for: carrying out the network part of the pod's specification before any app starts. Must not know: how the cards
//! are connected on the host; loopback. Follows rtnetlink(7) and docs/architecture.md, "Networks".

use std::net::IpAddr;
use std::{fs, io};

use guest_api::{AddressSpec, InterfaceSpec, NetworkSpec, Prefix, RouteSpec, RuleSpec, SettingSpec};
use netlink::route::AddressFamily;
use netlink::route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink::route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink::route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink::route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink::{Change, Connection, NLM_F_CREATE, NLM_F_EXCL, NetlinkError};

use crate::{InitError, console};

/// Where the kernel shows the network cards.
const CARDS: &str = "/sys/class/net";

/// A card of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Card {
    index: u32,
    name: String,
    mac: [u8; 6],
}

/// A card and what is to become of it.
#[derive(Debug, PartialEq, Eq)]
struct Assignment<'spec> {
    index: u32,
    interface: &'spec InterfaceSpec,
    /// The card has another name so far.
    is_renamed: bool,
}

/// Configures everything that is asked for. Apps find it as containers find theirs, but for one thing: no address is tried out
/// first, because the network's plugin has settled whose they are.
pub fn configure(spec: &NetworkSpec) -> Result<(), InitError> {
    if spec.interfaces.is_empty() {
        return Ok(());
    }
    spec.check().map_err(|fault| InitError::Specification(fault.to_string()))?;
    let mut kernel = Connection::open().map_err(failed("ask for the network cards"))?;
    let cards = cards().map_err(InitError::kernel("list the network cards"))?;
    let assignments = assign(spec, &cards)?;
    rename(&mut kernel, &assignments)?;
    for assignment in &assignments {
        bring_up(&mut kernel, assignment)?;
    }
    // A route may send from an address of another interface.
    for Assignment { index, interface, .. } in &assignments {
        for route in &interface.routes {
            let doing =
                || format!("add the route to {} over interface {}", route.destination, interface.name);
            change(&mut kernel, &route_message(*index, route), doing)?;
        }
    }
    for rule in &spec.rules {
        let doing = || format!("add the routing rule of priority {}", rule.priority);
        change(&mut kernel, &rule_message(rule), doing)?;
    }
    spec.settings.iter().try_for_each(set)
}

/// Changes a setting. One that this kernel does not have is about something that it does not do.
fn set(setting: &SettingSpec) -> Result<(), InitError> {
    let path = format!("/proc/sys/{}", setting.name);
    match fs::write(&path, &setting.value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            console::say(&format!("there is no {path}"));
            Ok(())
        }
        other => other.map_err(InitError::kernel(format!("write {path}"))),
    }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(NetlinkError) -> InitError {
    move |source| InitError::Kernel { doing: doing.into(), source: io::Error::other(source) }
}

fn change<C: Change>(
    kernel: &mut Connection,
    change: &C,
    doing: impl FnOnce() -> String,
) -> Result<(), InitError> {
    kernel.change(change, NLM_F_CREATE | NLM_F_EXCL).map_err(|error| failed(doing())(error))
}

/// The machine's cards, in the order of its devices.
fn cards() -> io::Result<Vec<Card>> {
    let mut cards = Vec::new();
    for entry in fs::read_dir(CARDS)? {
        let entry = entry?;
        let read = |attribute: &str| fs::read_to_string(entry.path().join(attribute));
        let (index, mac) = (read("ifindex")?, read("address")?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if let (Ok(index), Some(mac)) = (index.trim().parse(), parse_mac(mac.trim())) {
            cards.push(Card { index, name, mac });
        }
    }
    cards.sort_by_key(|card| card.index);
    Ok(cards)
}

/// Six bytes in hexadecimal with colons between them.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

/// Finds each interface's card by its address. Networks that share a card of the host share its address, too: then they are in the
/// order of the devices.
fn assign<'spec>(spec: &'spec NetworkSpec, cards: &[Card]) -> Result<Vec<Assignment<'spec>>, InitError> {
    let mut left: Vec<&Card> = cards.iter().collect();
    let mut assignments = Vec::new();
    for interface in &spec.interfaces {
        let found = left.iter().position(|card| card.mac == interface.mac);
        let card = found.map(|position| left.remove(position)).ok_or_else(|| {
            InitError::Specification(format!(
                "the machine has no network card for interface {}",
                interface.name
            ))
        })?;
        let is_renamed = card.name != interface.name;
        assignments.push(Assignment { index: card.index, interface, is_renamed });
    }
    Ok(assignments)
}

/// Gives the interfaces their names. One card may have the name that another one is to get, so they all give up theirs first.
fn rename(kernel: &mut Connection, assignments: &[Assignment<'_>]) -> Result<(), InitError> {
    let renamed = || assignments.iter().filter(|assignment| assignment.is_renamed);
    let provisional = renamed().map(|it| (it.index, format!("card{}", it.index)));
    let last = renamed().map(|it| (it.index, it.interface.name.clone()));
    for (index, name) in provisional.chain(last) {
        let doing = format!("name a network card {name}");
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes.push(LinkAttribute::IfName(name));
        kernel.change(&link, 0).map_err(failed(doing))?;
    }
    Ok(())
}

fn bring_up(kernel: &mut Connection, assignment: &Assignment<'_>) -> Result<(), InitError> {
    let Assignment { index, interface, .. } = assignment;
    let name = &interface.name;
    // Nor is the link-local address tried out, for which connections would wait a second.
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/accept_dad");
    fs::write(&setting, "0").map_err(InitError::kernel(format!("write {setting}")))?;
    let mut link = LinkMessage::default();
    link.header.index = *index;
    let no_arp = if interface.no_arp { LinkFlags::Noarp } else { LinkFlags::empty() };
    link.header.flags = LinkFlags::Up | no_arp;
    link.header.change_mask = LinkFlags::Up | no_arp;
    link.attributes.push(LinkAttribute::Mtu(u32::from(interface.mtu)));
    let doing = format!("bring up interface {name} with an MTU of {} bytes", interface.mtu);
    kernel.change(&link, 0).map_err(failed(doing))?;
    for address in &interface.addresses {
        let doing = || format!("give interface {name} the address {}", address.prefix);
        change(kernel, &address_message(*index, address), doing)?;
    }
    Ok(())
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn address_message(index: u32, address: &AddressSpec) -> AddressMessage {
    let Prefix { address: own, length } = address.prefix;
    let mut message = AddressMessage::default();
    message.header.family = family(own);
    message.header.prefix_len = length;
    message.header.scope = address.scope.into();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(own));
    message.attributes.push(AddressAttribute::Address(own));
    if let Some(broadcast) = broadcast(address.prefix) {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Noprefixroute | AddressFlags::Nodad));
    message
}

/// As ip(8) does it for plugins: the last address of the subnet, where there is one.
fn broadcast(prefix: Prefix) -> Option<std::net::Ipv4Addr> {
    let IpAddr::V4(address) = prefix.address else { return None };
    let hosts = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
    (hosts > 1).then(|| std::net::Ipv4Addr::from_bits(address.to_bits() | hosts))
}

fn route_message(index: u32, route: &RouteSpec) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.address);
    message.header.destination_prefix_length = route.destination.length;
    message.header.table = table(route.table);
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::from(route.scope);
    message.header.kind = RouteType::Unicast;
    if route.onlink {
        message.header.flags = RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(route.destination.address.into()));
    attributes.push(RouteAttribute::Oif(index));
    attributes.push(RouteAttribute::Table(route.table));
    attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

fn rule_message(rule: &RuleSpec) -> RuleMessage {
    let mut message = RuleMessage::default();
    let length = |prefix: Option<Prefix>| prefix.map_or(0, |prefix| prefix.length);
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.src_len = length(rule.source);
    message.header.dst_len = length(rule.destination);
    message.header.table = table(rule.table);
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.extend(rule.source.map(|source| RuleAttribute::Source(source.address)));
    attributes.extend(rule.destination.map(|target| RuleAttribute::Destination(target.address)));
    message
}

/// The byte for a table in a header: large numbers are in an attribute only (`RT_TABLE_UNSPEC` stands for them here).
fn table(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

#[cfg(test)]
#[path = "network_test.rs"]
mod network_test;

use std::net::IpAddr;

use netlink::route::AddressFamily;
use netlink::route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType};
use netlink::route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::links::{Read, route_spec, rule_spec};

const INDEX: u32 = 3;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(attributes: &[RouteAttribute]) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.kind = RouteType::Unicast;
    message.header.table = RouteMessage::default().header.table.max(254);
    message.attributes.push(RouteAttribute::Oif(INDEX));
    message.attributes.extend(attributes.iter().cloned());
    message
}

#[test]
fn a_default_route_is_read_with_all_that_makes_it_up() {
    let mut message = route(&[
        RouteAttribute::Gateway(address("10.0.0.1").into()),
        RouteAttribute::PrefSource(address("10.0.0.2").into()),
        RouteAttribute::Priority(7),
        RouteAttribute::Table(100_000),
    ]);
    message.header.flags = RouteFlags::Onlink;

    let Read::Is(spec) = route_spec(&message, INDEX) else { panic!("it is one") };

    assert_eq!(spec.destination.to_string(), "0.0.0.0/0");
    assert_eq!(spec.gateway, Some(address("10.0.0.1")));
    assert_eq!(spec.source, Some(address("10.0.0.2")));
    assert_eq!((spec.metric, spec.table, spec.onlink), (Some(7), 100_000, true));
}

#[test]
fn what_every_kernel_makes_by_itself_is_not_read() {
    let automatic = |destination: &str, length, protocol| {
        let mut message = route(&[RouteAttribute::Destination(address(destination).into())]);
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = length;
        message.header.protocol = protocol;
        message
    };
    let mut local = route(&[]);
    local.header.kind = RouteType::Local;

    assert_eq!(route_spec(&automatic("fe80::", 64, RouteProtocol::Kernel), INDEX), Read::IsNot);
    assert_eq!(route_spec(&automatic("fd01::", 64, RouteProtocol::Ra), INDEX), Read::IsNot);
    assert_eq!(route_spec(&local, INDEX), Read::IsNot);
    assert_eq!(route_spec(&route(&[]), INDEX + 1), Read::IsNot);
    assert!(matches!(route_spec(&automatic("fd01::", 64, RouteProtocol::Kernel), INDEX), Read::Is(_)));
}

#[test]
fn a_route_that_cannot_be_told_is_named() {
    let mut message = route(&[RouteAttribute::MultiPath(Vec::new())]);
    message.attributes.remove(0);

    assert_eq!(
        route_spec(&message, INDEX),
        Read::CannotBe("the route to 0.0.0.0/0 with several gateways".into())
    );
}

#[test]
fn rules_of_plugins_are_read_and_those_of_the_kernel_are_not() {
    let rule = |attribute: RuleAttribute| {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.header.src_len = 32;
        message.attributes.push(RuleAttribute::Priority(9));
        message.attributes.push(RuleAttribute::Table(100));
        message.attributes.push(attribute);
        message
    };

    let Read::Is(own) = rule_spec(&rule(RuleAttribute::Source(address("10.0.0.2")))) else {
        panic!("it is one")
    };

    assert_eq!(own.source.map(|it| it.to_string()), Some("10.0.0.2/32".into()));
    assert_eq!((own.priority, own.table, own.ipv6), (9, 100, false));
    assert_eq!(rule_spec(&rule(RuleAttribute::Protocol(RouteProtocol::Kernel))), Read::IsNot);
    let marked = Read::CannotBe("the routing rule of priority 9".into());
    assert_eq!(rule_spec(&rule(RuleAttribute::FwMark(1))), marked);
}

use std::net::IpAddr;

use crate::{AddressSpec, InterfaceSpec, NetworkSpec, Prefix, RouteSpec, RuleSpec, SettingSpec};

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix { address: address.parse().unwrap(), length }
}

fn route(destination: &str, length: u8, gateway: Option<&str>) -> RouteSpec {
    RouteSpec {
        destination: prefix(destination, length),
        gateway: gateway.map(|it| it.parse::<IpAddr>().unwrap()),
        source: None,
        scope: 0,
        table: 254,
        metric: None,
        mtu: None,
        onlink: false,
    }
}

fn spec() -> NetworkSpec {
    let address = |text, length| AddressSpec { prefix: prefix(text, length), scope: 0 };
    let interface = |name: &str| InterfaceSpec {
        name: name.to_owned(),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        addresses: vec![address("10.0.0.2", 24), address("fd00::2", 64)],
        routes: vec![route("10.0.0.0", 24, None), route("::", 0, Some("fe80::1"))],
        no_arp: false,
    };
    let rule = RuleSpec {
        ipv6: false,
        priority: 100,
        source: Some(prefix("10.0.0.2", 32)),
        destination: None,
        table: 100,
    };
    let setting = SettingSpec { name: "net/ipv4/conf/eth0/rp_filter".into(), value: "1".into() };
    let interfaces = vec![interface("eth0"), interface("eth1")];
    NetworkSpec { interfaces, rules: vec![rule], settings: vec![setting] }
}

#[track_caller]
fn expect_fault(change: impl FnOnce(&mut NetworkSpec), words: &str) {
    let mut spec = spec();
    change(&mut spec);
    let fault = spec.check().expect_err("it cannot be").to_string();
    assert!(fault.contains(words), "{fault}");
}

#[test]
fn what_networks_give_is_accepted() {
    assert_eq!(spec().check(), Ok(()));
    assert_eq!(NetworkSpec::default().check(), Ok(()));
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    expect_fault(|it| it.interfaces[1].name = "eth0".into(), "two interfaces");
    expect_fault(|it| it.interfaces[0].name = "an-interface-too-long".into(), "an-interface-too-long");
    expect_fault(|it| it.interfaces[0].name = "../eth0".into(), "no name");
    expect_fault(|it| it.interfaces[0].mac = [1, 0, 0, 0, 0, 1], "eth0: its hardware address");
    expect_fault(|it| it.interfaces[0].mac = [0; 6], "hardware address");
    expect_fault(|it| it.interfaces[0].mtu = 60, "too small");
    expect_fault(|it| it.interfaces[0].mtu = 1279, "too small for IPv6");
    expect_fault(|it| it.interfaces[0].addresses[0].prefix.length = 33, "10.0.0.2/33");
    expect_fault(|it| it.interfaces[0].addresses[0].prefix = prefix("224.0.0.1", 24), "224.0.0.1");
    expect_fault(|it| it.interfaces[0].addresses[0].prefix = prefix("127.0.0.1", 8), "127.0.0.1/8");
    expect_fault(|it| it.interfaces[0].routes[0].gateway = Some("fd00::1".parse().unwrap()), "10.0.0.0/24");
    expect_fault(|it| it.interfaces[0].routes[1].table = 255, "::/0");
    expect_fault(|it| it.rules[0].ipv6 = true, "priority 100");
    expect_fault(|it| it.interfaces = vec![it.interfaces[0].clone(); 9], "8 networks");
    expect_fault(|it| it.interfaces[0].routes = vec![route("::", 0, None); 1025], "too many");
    for name in
        ["kernel/core_pattern", "net", "net/../kernel/core_pattern", "net//ipv4", "/net/ipv4", "net/a b"]
    {
        expect_fault(|it| it.settings[0].name = name.into(), "is no setting of the network");
    }
    expect_fault(|it| it.settings[0].value = "x".repeat(1025), "rp_filter is too long");
    expect_fault(|it| it.settings = vec![it.settings[0].clone(); 257], "too many");
}

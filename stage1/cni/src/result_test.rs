use serde_json::{Value, json};

use crate::result::{AddResult, Dns, Interface, IpConfig, IpNet, ResultError, Route};
use crate::version::Version;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn parse(value: &Value) -> Result<AddResult, ResultError> {
    AddResult::parse(value.to_string().as_bytes())
}

#[test]
fn oldest_form_is_understood_and_its_routes_get_the_gateway_of_their_family() {
    let written = json!({
        "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.2.9"}]},
        "ip6": {"ip": "fd00::3/64"},
        "dns": {"nameservers": ["10.1.2.1"], "search": null},
    });

    let result = parse(&written).unwrap();

    let v4 =
        IpConfig { address: net("10.1.2.3/24"), gateway: Some("10.1.2.1".parse().unwrap()), interface: None };
    let v6 = IpConfig { address: net("fd00::3/64"), gateway: None, interface: None };
    assert_eq!(result.ips, [v4, v6]);
    let gateways: Vec<String> = result.routes.iter().map(|route| route.gw.unwrap().to_string()).collect();
    assert_eq!(gateways, ["10.1.2.1", "10.1.2.9"]);
    assert_eq!(result.dns.nameservers, ["10.1.2.1"]);
}

#[test]
fn newest_form_is_understood_with_all_of_its_keys() {
    let written = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "veth1", "mac": "aa:bb:cc:dd:ee:01"},
            {"name": "eth0", "mac": "aa:bb:cc:dd:ee:02", "mtu": 1400, "sandbox": "/run/netns/a", "pciID": "0000:00:01.0"},
        ],
        "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1300, "advmss": 1260, "priority": 5, "table": 100, "scope": 253}],
        "dns": {},
    });

    let result = parse(&written).unwrap();

    assert_eq!((result.interfaces[1].mtu, result.interfaces[1].pci_id.as_str()), (1400, "0000:00:01.0"));
    assert_eq!(result.ips[0].interface, Some(1));
    assert_eq!(
        (result.routes[0].mtu, result.routes[0].table, result.routes[0].scope),
        (Some(1300), Some(100), Some(253))
    );
    assert_eq!(Value::Object(result.to_json(Version::V1_1_0)), written);
}

#[test]
fn next_hop_is_the_routes_own_or_the_first_gateway_of_its_family() {
    let written = json!({
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.0.0.2/24"}, {"address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "1.0.0.0/8", "gw": "10.0.0.9"}, {"dst": "::/0"}],
    });

    let result = parse(&written).unwrap();

    let hops: Vec<Option<String>> =
        result.routes.iter().map(|route| result.next_hop(route).map(|hop| hop.to_string())).collect();
    assert_eq!(hops, [Some("10.1.0.1".to_owned()), Some("10.0.0.9".to_owned()), None]);
}

#[test]
fn what_gos_encoder_writes_for_nothing_is_nothing() {
    let written = json!({
        "cniVersion": "0.3.1", "interfaces": null, "routes": null, "dns": null,
        "ips": [{"version": "4", "address": "10.1.2.3/24", "gateway": "", "interface": -1}],
    });

    let result = parse(&written).unwrap();

    assert_eq!((result.ips[0].gateway, result.ips[0].interface), (None, None));
}

#[test]
fn older_versions_get_the_keys_they_require_and_not_those_they_do_not_know() {
    let result = AddResult {
        interfaces: vec![Interface { name: "eth0".into(), mtu: 1400, ..Interface::default() }],
        ips: vec![
            IpConfig { address: net("10.0.0.2/24"), gateway: None, interface: Some(0) },
            IpConfig { address: net("fd00::2/64"), gateway: None, interface: Some(0) },
        ],
        routes: vec![Route { table: Some(7), ..Route::new(net("10.9.0.0/16"), None) }],
        dns: Dns::default(),
    };

    let v040 = Value::Object(result.to_json(Version::V0_4_0));
    let v020 = Value::Object(result.to_json(Version::V0_2_0));

    assert_eq!(v040["ips"][1], json!({"version": "6", "address": "fd00::2/64", "interface": 0}));
    assert_eq!(v040["interfaces"], json!([{"name": "eth0"}]));
    assert_eq!(v040["routes"], json!([{"dst": "10.9.0.0/16"}]));
    assert_eq!(v020["ip4"], json!({"ip": "10.0.0.2/24", "routes": [{"dst": "10.9.0.0/16"}]}));
    assert_eq!(v020.get("interfaces"), None);
}

#[test]
fn results_that_make_no_sense_are_refused() {
    let unknown = parse(&json!({"cniVersion": "3.0.0"})).unwrap_err();
    assert_eq!(unknown.to_string(), "CNI version \"3.0.0\" is not supported (0.1.0 to 1.1.0 are)");
    let beyond = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "a"}], "ips": [{"address": "10.0.0.2/24", "interface": 1}]});
    assert_eq!(parse(&beyond).unwrap_err().to_string(), "address 10.0.0.2/24 is on interface 1, of 1");
    for address in ["10.0.0.2", "10.0.0.2/33", "10.0.0.2/+4", "fd00::/129", "10.0.0/8", ""] {
        let form = json!({"cniVersion": "1.0.0", "ips": [{"address": address}]});
        assert!(matches!(parse(&form), Err(ResultError::Form { .. })), "{address}");
    }
    assert!(matches!(AddResult::parse(b"[]"), Err(ResultError::Json(_))));
}

#[test]
fn network_of_an_address_has_no_host_bits() {
    let networks = ["10.1.17.1/24", "10.1.17.1/0", "10.1.17.1/32", "fd00:1::5/32", "fd00::5/128"];
    let without: Vec<String> = networks.iter().map(|text| net(text).network().to_string()).collect();
    assert_eq!(without, ["10.1.17.0/24", "0.0.0.0/0", "10.1.17.1/32", "fd00:1::/32", "fd00::5/128"]);
}

mod properties {
    use std::net::IpAddr;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn ip_net() -> impl Strategy<Value = IpNet> {
        any::<(IpAddr, u8)>().prop_map(|(address, prefix)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            IpNet { address, prefix: prefix % (longest + 1) }
        })
    }

    fn result() -> impl Strategy<Value = AddResult> {
        let interface =
            ("[a-z0-9]{1,15}", "[a-f0-9:]{0,17}", any::<u32>(), "[a-z/]{0,9}", "[a-z/]{0,9}", "[0-9:.]{0,9}")
                .prop_map(|(name, mac, mtu, sandbox, socket_path, pci_id)| Interface {
                    name,
                    mac,
                    mtu,
                    sandbox,
                    socket_path,
                    pci_id,
                });
        let number = || option::of(any::<u32>());
        let route = (ip_net(), option::of(any::<IpAddr>()), number(), number(), number(), number(), number())
            .prop_map(|(dst, gw, mtu, advmss, priority, table, scope)| Route {
                dst,
                gw,
                mtu,
                advmss,
                priority,
                table,
                scope,
            });
        let ip = (ip_net(), option::of(any::<IpAddr>()), option::of(0..1_usize))
            .prop_map(|(address, gateway, interface)| IpConfig { address, gateway, interface });
        let words = || vec("[a-z.0-9]{1,9}", 0..3);
        let dns = (words(), "[a-z.]{0,9}", words(), words())
            .prop_map(|(nameservers, domain, search, options)| Dns { nameservers, domain, search, options });
        (vec(interface, 1..3), vec(ip, 0..4), vec(route, 0..4), dns)
            .prop_map(|(interfaces, ips, routes, dns)| AddResult { interfaces, ips, routes, dns })
    }

    proptest! {
        #[test]
        fn newest_version_holds_every_result(result in result()) {
            prop_assert_eq!(AddResult::from_json(result.to_json(Version::V1_1_0)).unwrap(), result);
        }

        #[test]
        fn every_version_reads_back_what_it_wrote(result in result()) {
            for version in Version::ALL {
                let written = result.to_json(version);
                let once = AddResult::from_json(written).unwrap();
                let twice = AddResult::from_json(once.to_json(version)).unwrap();
                prop_assert_eq!(&once, &twice, "{}", version);
            }
        }

        #[test]
        fn no_output_makes_the_parser_panic(output in vec(any::<u8>(), 0..200)) {
            let _ = AddResult::parse(&output);
        }
    }
}

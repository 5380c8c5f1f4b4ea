use std::collections::BTreeMap;
use std::path::Path;

use appc::PodManifest;
use cni::{Network, Selected};
use firewall::Forward;
use nftables::Protocol;

use super::firewall::{PortError, forwardable, forwards, intents, port_mappings};
use crate::flags::NetworkRequest;

fn request(name: &str) -> NetworkRequest {
    NetworkRequest { name: name.into(), arguments: String::new() }
}

fn manifest(app_ports: &str, exposed: &str) -> PodManifest {
    let text = format!(
        r#"{{"acKind":"PodManifest","acVersion":"0.8.11","ports":[{exposed}],"apps":[{{"name":"web","image":{{"id":"sha512-{}"}},
        "app":{{"exec":["/x"],"user":"0","group":"0","ports":[{app_ports}]}}}}]}}"#,
        "0".repeat(128)
    );
    PodManifest::from_json(text.as_bytes()).unwrap()
}

fn made(app_ports: &str, exposed: &str) -> Result<Vec<Forward>, PortError> {
    forwards(&[request("default")], &manifest(app_ports, exposed), &BTreeMap::new(), &[])
}

#[test]
fn a_port_that_the_service_manager_listens_on_is_not_forwarded() {
    let ports = r#"{"name":"www","protocol":"tcp","port":80,"socketActivated":true}"#;
    let manifest = manifest(ports, r#"{"name":"www","hostPort":8080}"#);
    let forwarded = |passed: &[&str]| {
        let passed: Vec<_> = passed.iter().map(|address| address.parse().unwrap()).collect();
        forwards(&[request("default")], &manifest, &BTreeMap::new(), &passed).unwrap().len()
    };

    assert_eq!(forwarded(&["[::]:8080"]), 0);
    assert_eq!(forwarded(&["[::]:80"]), 1);
}

#[test]
fn a_port_leads_to_the_apps_port_of_its_name() {
    let ports = r#"{"name":"www","protocol":"tcp","port":80},{"name":"dns","protocol":"udp","port":53}"#;
    let exposed = r#"{"name":"www","hostPort":8080},{"name":"dns","hostPort":5353,"hostIP":"127.0.0.1"}"#;

    assert_eq!(
        made(ports, exposed).unwrap(),
        [
            Forward { protocol: Protocol::Tcp, host: None, host_port: 8080, pod_port: 80 },
            Forward {
                protocol: Protocol::Udp,
                host: Some("127.0.0.1".parse().unwrap()),
                host_port: 5353,
                pod_port: 53
            },
        ]
    );
    let none = forwards(&[request("none")], &manifest(ports, exposed), &BTreeMap::new(), &[]);
    assert!(none.unwrap().is_empty());
}

#[test]
fn a_port_that_counts_several_leads_to_each_of_them() {
    let ports = r#"{"name":"rtp","protocol":"udp","port":5000,"count":3}"#;

    let made = made(ports, r#"{"name":"rtp","hostPort":6000,"hostIP":"::"}"#).unwrap();

    let numbers: Vec<_> = made.iter().map(|it| (it.host, it.host_port, it.pod_port)).collect();
    assert_eq!(numbers, [(None, 6000, 5000), (None, 6001, 5001), (None, 6002, 5002)]);
}

#[test]
fn a_port_that_leads_nowhere_is_refused_with_its_name() {
    let www = r#"{"name":"www","protocol":"tcp","port":80,"count":9}"#;
    for (ports, exposed, message) in [
        (www, r#"{"name":"ssh","hostPort":22}"#, "port name \"ssh\" is not"),
        (www, r#"{"name":"www","hostPort":65530}"#, "port \"www\" leads from or to"),
        (www, r#"{"name":"www","hostPort":0}"#, "port \"www\" leads from or to"),
        (
            r#"{"name":"www","protocol":"sctp","port":80}"#,
            r#"{"name":"www","hostPort":80}"#,
            "protocol \"sctp\" cannot be forwarded",
        ),
        (
            r#"{"name":"www","protocol":"tcp","port":80,"count":65}"#,
            r#"{"name":"www","hostPort":80}"#,
            "65 ports to forward, at most 64",
        ),
    ] {
        let error = made(ports, exposed).unwrap_err().to_string();

        assert!(error.contains(message), "{error}");
    }
}

fn network(name: &str, built_in: bool, plugin: &str) -> Selected {
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{plugin}]}}"#);
    let network = Network::parse(text.as_bytes(), Path::new("x.conflist"), built_in).unwrap();
    Selected { network, args: String::new(), ifname: "eth0".into() }
}

#[test]
fn ports_lead_to_the_first_network_that_is_masqueraded_or_else_to_the_last() {
    let plain = || network("plain", false, r#"{"type":"bridge"}"#);
    let masked = || network("masked", false, r#"{"type":"bridge","ipMasq":true}"#);
    let choice = |mut networks: Vec<Selected>| forwardable(&intents(&mut networks));

    assert_eq!(choice(vec![plain(), masked(), masked()]), 1);
    assert_eq!(choice(vec![plain(), plain()]), 1);
}

#[test]
fn rkt_masquerades_in_place_of_the_plugins_of_its_own_networks_only() {
    let own = network("default", true, r#"{"type":"ptp","ipMasq":true}"#);
    let other = network("mine", false, r#"{"type":"ptp","ipMasq":true}"#);
    let mut networks = [own, other];

    assert_eq!(forwardable(&intents(&mut networks)), 0);

    assert!(!networks[0].network.ip_masq() && networks[1].network.ip_masq());
}

#[test]
fn a_plugin_that_forwards_is_told_of_the_ports() {
    let portmap = r#"{"type":"ptp"},{"type":"portmap","capabilities":{"portMappings":true}}"#;
    let mut networks = [network("plain", false, r#"{"type":"ptp"}"#), network("mapped", false, portmap)];
    let intents = intents(&mut networks);
    let forwards = [Forward { protocol: Protocol::Tcp, host: None, host_port: 8080, pod_port: 80 }];

    assert!(port_mappings(&intents, 0, &forwards).is_empty());
    let told = port_mappings(&intents, 1, &forwards);
    assert_eq!((told[0].host_port, told[0].container_port, told[0].protocol.as_str()), (8080, 80, "tcp"));
}

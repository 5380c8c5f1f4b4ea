use std::collections::BTreeSet;
use std::net::SocketAddr;

use appc::{App, ExposedPort};

use crate::activation::{ActivationError, sockets, used};

fn app(ports: &str) -> App {
    serde_json::from_str(&format!(r#"{{"exec":["/x"],"user":"0","group":"0","ports":[{ports}]}}"#)).unwrap()
}

fn port(name: &str, protocol: &str, number: u16, activated: bool) -> String {
    format!(
        r#"{{"name":"{name}","protocol":"{protocol}","port":{number},"count":1,"socketActivated":{activated}}}"#
    )
}

fn exposed(name: &str, host_port: u32) -> ExposedPort {
    serde_json::from_str(&format!(r#"{{"name":"{name}","hostPort":{host_port}}}"#)).unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_port_gets_the_sockets_that_listen_on_its_host_port() {
    let section = app(&[port("http", "tcp", 80, true), port("other", "tcp", 81, false)].join(","));
    let passed = [address("0.0.0.0:8080"), address("0.0.0.0:9"), address("[::]:8080")];

    let (sockets, warnings) = sockets(&section, &[exposed("http", 8080)], &passed).unwrap();

    assert_eq!(warnings, Vec::<String>::new());
    let found: Vec<_> = sockets.iter().map(|it| (it.name.as_str(), it.address, it.number)).collect();
    let expected = [("http", address("127.0.0.1:8080"), Some(0)), ("http", address("[::1]:8080"), Some(2))];
    assert_eq!(found, expected);
    assert_eq!(used(sockets.iter()), BTreeSet::from([0, 2]));
}

#[test]
fn a_port_without_a_host_port_keeps_its_number_and_is_warned_of() {
    let section = app(&port("http", "tcp", 80, true));

    let (sockets, warnings) = sockets(&section, &[], &[address("0.0.0.0:80")]).unwrap();

    assert_eq!(sockets[0].address, address("127.0.0.1:80"));
    assert!(warnings[0].contains("\"http\"") && warnings[0].contains("80"), "{warnings:?}");
}

#[test]
fn a_port_that_no_socket_was_passed_for_listens_on_the_pods_networks() {
    let section = app(&port("http", "tcp", 80, true));

    let (sockets, _) = sockets(&section, &[exposed("http", 8080)], &[]).unwrap();

    assert_eq!((sockets[0].address, sockets[0].number), (address("[::]:80"), None));
}

#[test]
fn what_cannot_be_passed_is_refused() {
    let datagrams = app(&port("dns", "udp", 53, true));
    let many: Vec<String> = (1..=17).map(|number| port(&format!("p{number}"), "tcp", number, true)).collect();

    assert!(matches!(sockets(&datagrams, &[], &[]), Err(ActivationError::Datagrams(name)) if name == "dns"));
    assert!(matches!(sockets(&app(&many.join(",")), &[], &[]), Err(ActivationError::TooMany(17))));
}

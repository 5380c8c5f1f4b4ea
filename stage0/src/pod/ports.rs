//! Ports of the host that lead to apps.
//!
//! Responsible for: that each leads to exactly one port of an app and no two get into each other's way. Must not know: how they
//! are forwarded. Follows rkt-reference.md 6.7, "Ports".

use std::net::{IpAddr, Ipv4Addr};

use appc::{ExposedPort, Port};

use crate::error::{Result, Stage0Error};

/// The highest port there is.
const MAX_PORT: u32 = 65535;

/// Checks the exposed ports of a pod against the ports of all its apps.
pub fn check_ports(exposed: &[ExposedPort], apps: &[&Port]) -> Result<()> {
    let mut taken: Vec<(&ExposedPort, &Port)> = Vec::new();
    for port in exposed {
        if !(1..=MAX_PORT).contains(&port.host_port) {
            return refuse(format!(
                "port {:?}: {} is not a valid port number",
                port.name.as_str(),
                port.host_port
            ));
        }
        let target = match &port.pod_port {
            Some(target) => target,
            None => find(port, apps)?,
        };
        if let Some((_, other)) = taken.iter().find(|(other, it)| conflict((port, target), (other, it))) {
            let address = port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            return refuse(format!(
                "port {}-{address}:{} already mapped to pod port {}",
                target.protocol, port.host_port, other.port
            ));
        }
        taken.push((port, target));
    }
    Ok(())
}

fn find<'p>(port: &ExposedPort, apps: &[&'p Port]) -> Result<&'p Port> {
    let mut named = apps.iter().filter(|candidate| candidate.name == port.name);
    match (named.next(), named.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => refuse(format!("port name {:?} could not be found in any apps", port.name.as_str())),
        (Some(_), Some(_)) => refuse(format!("port name {:?} defined multiple apps", port.name.as_str())),
    }
}

fn conflict(one: (&ExposedPort, &Port), other: (&ExposedPort, &Port)) -> bool {
    one.1.protocol == other.1.protocol
        && one.0.host_port == other.0.host_port
        && overlap(one.0.host_ip, other.0.host_ip)
}

/// No address means every address, and so does `::`, which takes IPv4 in as well.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let is_every = |address: IpAddr| address.is_ipv6() && address.is_unspecified();
    one == other
        || is_every(one)
        || is_every(other)
        || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Stage0Error::refused(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::port::parse_port;

    fn port(name: &str, protocol: &str, number: u32) -> Port {
        Port {
            name: name.parse().unwrap(),
            protocol: protocol.to_owned(),
            port: number,
            count: 1,
            socket_activated: false,
        }
    }

    fn check(exposed: &[&str], apps: &[Port]) -> std::result::Result<(), String> {
        let exposed: Vec<ExposedPort> = exposed.iter().map(|text| parse_port(text).unwrap()).collect();
        check_ports(&exposed, &apps.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_leads_to_exactly_one_port_of_an_app() {
        let apps = [port("www", "tcp", 80), port("dns", "udp", 53), port("dns", "tcp", 53)];

        assert_eq!(check(&["www:8080"], &apps), Ok(()));
        assert_eq!(
            check(&["ssh:22"], &apps),
            Err("port name \"ssh\" could not be found in any apps".to_owned())
        );
        assert_eq!(check(&["dns:53"], &apps), Err("port name \"dns\" defined multiple apps".to_owned()));
    }

    #[test]
    fn a_port_of_the_host_is_given_away_once_for_each_protocol_and_address() {
        let apps = [port("a", "tcp", 80), port("b", "tcp", 81), port("c", "udp", 82)];

        assert_eq!(check(&["a:1000", "c:1000"], &apps), Ok(()));
        assert_eq!(check(&["a:127.0.0.1:1000", "b:127.0.0.2:1000"], &apps), Ok(()));
        assert_eq!(check(&["a:[::1]:1000", "b:0.0.0.0:1000"], &apps), Ok(()));
        assert_eq!(
            check(&["a:1000", "b:127.0.0.1:1000"], &apps),
            Err("port tcp-127.0.0.1:1000 already mapped to pod port 80".to_owned())
        );
        assert_eq!(
            check(&["a:[::]:1000", "b:1000"], &apps),
            Err("port tcp-0.0.0.0:1000 already mapped to pod port 80".to_owned())
        );
    }

    #[test]
    fn a_manifest_may_name_the_apps_port_itself_and_numbers_that_are_none() {
        let direct = |host_port| ExposedPort {
            name: "any".parse().unwrap(),
            host_port,
            host_ip: None,
            pod_port: Some(port("any", "tcp", 80)),
        };

        assert!(check_ports(&[direct(8080)], &[]).is_ok());
        assert!(check_ports(&[direct(0)], &[]).is_err());
        assert!(check_ports(&[direct(65536)], &[]).is_err());
    }
}

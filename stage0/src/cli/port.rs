//! `--port`.
//!
//! Responsible for: its grammar. Must not know: which app has such a port. Follows rkt-reference.md 1.5.

use std::net::IpAddr;

use appc::{AcName, ExposedPort, Port};

/// `NAME:[IP:]PORT`; the colons of an IPv6 address are told apart by brackets around it.
pub fn parse_port(text: &str) -> Result<ExposedPort, String> {
    let (name, rest) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not in name:[ip:]port format"))?;
    let name: AcName = name.parse().map_err(|error| format!("{name:?} is not a valid port name: {error}"))?;
    let (address, port) = match rest.rsplit_once(':') {
        Some((address, port)) => (Some(parse_address(address)?), port),
        None => (None, rest),
    };
    Ok(ExposedPort { name, host_port: parse_number(port)?, host_ip: address, pod_port: None })
}

/// `NAME:PROTOCOL:PODPORT:HOSTIP:HOSTPORT`, for a pod whose apps, and with them the names of ports, come later.
pub fn parse_pod_port(text: &str) -> Result<ExposedPort, String> {
    let malformed = || format!("{text:?} is not in name:proto:podPort:hostIP:hostPort format");
    let mut parts = text.splitn(4, ':');
    let mut next = || parts.next().ok_or_else(malformed);
    let (name, protocol, port, rest) = (next()?, next()?, next()?, next()?);
    let (address, host_port) = rest.rsplit_once(':').ok_or_else(malformed)?;
    let name: AcName = name.parse().map_err(|error| format!("{name:?} is not a valid port name: {error}"))?;
    if !matches!(protocol, "tcp" | "udp") {
        return Err(format!("invalid protocol {protocol:?}"));
    }
    let pod_port = Port {
        name: name.clone(),
        protocol: protocol.to_owned(),
        port: parse_number(port)?,
        count: 1,
        socket_activated: false,
    };
    Ok(ExposedPort {
        name,
        host_port: parse_number(host_port)?,
        host_ip: Some(parse_address(address)?),
        pod_port: Some(pod_port),
    })
}

fn parse_number(text: &str) -> Result<u32, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(u32::from(port)),
        _ => Err(format!("{text:?} is not a valid port number")),
    }
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    address.ok_or_else(|| format!("{text:?} is not a valid IP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_bound_to_one_address_of_the_host() {
        let parts = |text: &str| {
            let port = parse_port(text).unwrap();
            (port.name.to_string(), port.host_ip.map(|ip| ip.to_string()), port.host_port)
        };

        assert_eq!(parts("80-tcp:8080"), ("80-tcp".into(), None, 8080));
        assert_eq!(parts("www:127.0.0.1:80"), ("www".into(), Some("127.0.0.1".into()), 80));
        assert_eq!(parts("www:[fd00::1]:80"), ("www".into(), Some("fd00::1".into()), 80));
    }

    #[test]
    fn a_port_of_a_pod_without_apps_says_what_it_leads_to() {
        let port = parse_pod_port("http:tcp:8080:0.0.0.0:80").unwrap();
        let inner = port.pod_port.unwrap();

        assert_eq!((inner.name.as_str(), inner.protocol.as_str(), inner.port), ("http", "tcp", 8080));
        assert_eq!((port.host_ip.map(|ip| ip.to_string()), port.host_port), (Some("0.0.0.0".into()), 80));
        assert!(parse_pod_port("dns:udp:53:[::1]:5353").is_ok());
        for (text, why) in [
            ("http:tcp:8080:80", "is not in name:proto:podPort:hostIP:hostPort format"),
            ("HTTP:tcp:8080:0.0.0.0:80", "\"HTTP\" is not a valid port name"),
            ("http:sctp:8080:0.0.0.0:80", "invalid protocol \"sctp\""),
            ("http:tcp:0:0.0.0.0:80", "\"0\" is not a valid port number"),
            ("http:tcp:8080:localhost:80", "\"localhost\" is not a valid IP"),
            ("http:tcp:8080:0.0.0.0:x", "\"x\" is not a valid port number"),
        ] {
            let error = parse_pod_port(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_part_that_is_wrong() {
        for (text, why) in [
            ("www", "\"www\" is not in name:[ip:]port format"),
            ("WWW:80", "\"WWW\" is not a valid port name"),
            ("www:0", "\"0\" is not a valid port number"),
            ("www:65536", "\"65536\" is not a valid port number"),
            ("www:localhost:80", "\"localhost\" is not a valid IP"),
            ("www:fd00::1:80", "\"fd00::1\" is not a valid IP"),
        ] {
            assert!(parse_port(text).unwrap_err().contains(why), "{text}");
        }
    }
}

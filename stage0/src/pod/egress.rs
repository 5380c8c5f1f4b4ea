//! Whom a pod may call, as stage1 is told.
//!
//! Responsible for: the addresses of names, at the pod's start, and that the pod's apps get the same ones. Must not know: the flag;
//! how it is enforced. Follows docs/networking.md, "Egress".
//!
//! A pod whose calls are limited is not told by a name server what a name means, or what it was told could be anything, and asking
//! would be a way out. It finds the names that it may call in `/etc/hosts`.

use std::net::{IpAddr, ToSocketAddrs};

use super::name_files::{Hosts, HostsEntry};
use crate::cli::egress::{Destination, Egress, Host};

/// Most addresses of one name; a name server that says more is up to something.
const MAX_ADDRESSES: usize = 64;

/// Most destinations of a pod, each of them some rules of the packet filter.
const MAX_DESTINATIONS: usize = 64;

/// Value of stage1's `--egress`; `None` when the pod may call whomever it likes. Names that are allowed become lines of `hosts`.
pub fn resolve(flags: &[Egress], hosts: &mut Hosts) -> Result<Option<String>, String> {
    if flags.is_empty() {
        return Ok(None);
    }
    let mut allowed: Vec<String> = Vec::new();
    for destination in flags.iter().flat_map(destinations) {
        match &destination.host {
            Host::Address(..) => allowed.push(destination.to_string()),
            Host::Name(name) => {
                for address in look_up(name)? {
                    let host = Host::Address(address, if address.is_ipv4() { 32 } else { 128 });
                    allowed.push(Destination { host, ..destination.clone() }.to_string());
                    add_host(hosts, address, name)?;
                }
            }
        }
    }
    allowed.dedup();
    if allowed.len() > MAX_DESTINATIONS {
        let count = allowed.len();
        return Err(format!("--egress allows {count} destinations, at most {MAX_DESTINATIONS} are possible"));
    }
    Ok(Some(if allowed.is_empty() { "deny".to_owned() } else { format!("allow:{}", allowed.join(",")) }))
}

fn destinations(egress: &Egress) -> &[Destination] {
    match egress {
        Egress::Deny => &[],
        Egress::Allow(destinations) => destinations,
    }
}

fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    let failed = |why: String| format!("--egress: cannot look up {name:?}: {why}");
    let found = (name, 0).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.len() {
        0 => Err(failed("it has no address".to_owned())),
        1..=MAX_ADDRESSES => Ok(addresses),
        count => Err(failed(format!("it has {count} addresses, at most {MAX_ADDRESSES} are possible"))),
    }
}

fn add_host(hosts: &mut Hosts, address: IpAddr, name: &str) -> Result<(), String> {
    let entry = HostsEntry { address: address.to_string(), names: vec![name.to_owned()] };
    match hosts {
        Hosts::Default => *hosts = Hosts::Stage0(vec![entry]),
        Hosts::Stage0(entries) if entries.contains(&entry) => {}
        Hosts::Stage0(entries) => entries.push(entry),
        Hosts::Host => {
            return Err(format!(
                "--egress: the name {name:?} has to be in the pod's /etc/hosts, which --hosts-entry=host does not allow"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "egress_test.rs"]
mod egress_test;

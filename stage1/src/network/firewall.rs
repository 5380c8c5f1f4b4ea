//! The host's packet filter around the pod.
//!
//! Responsible for: what of the pod, its networks and its manifests makes rules, and the record by which others know whose a port
//! is. Must not know: rules, which are the crate `firewall`'s. Follows docs/networking.md and rkt-reference 5.4 and 6.7.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use appc::{AcName, ExposedPort, ImageManifest, PodManifest, Port};
use cni::{PortMapping, Selected};
use firewall::{Forward, Link, Pod, PodAddress, Reach, Reservation, ReservationError};
use netlink::Connection;
use nftables::{Batch, Chain, Family, Hook, Policy, Priority, Protocol, Subnet, SubnetError, Table};
use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::NetworkError;
use super::links::{self, HostSide};
use crate::fault;
use crate::flags::NetworkRequest;

/// In the pod's directory: there are rules, and these are the ports. It is made before them.
const RECORD: &str = "firewall";

/// The network whose pods reach the host only, if it is rkt's own.
const RESTRICTED: &str = "default-restricted";

/// Most ports of a pod: each takes sockets and some rules, and all rules are made at once.
const MAX_FORWARDS: usize = 64;

/// Longest record that is read: that of a pod with as many ports as it can have.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// Why a port cannot lead into a pod.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No app has it, or more than one.
    #[error("port name {0:?} is not the name of exactly one port of the pod's apps")]
    NoSuchPort(String),
    /// Not everything has ports.
    #[error("port {name:?}: protocol {protocol:?} cannot be forwarded, only tcp and udp can")]
    Protocol {
        /// The port.
        name: String,
        /// Its protocol.
        protocol: String,
    },
    /// There is no such number.
    #[error("port {0:?} leads from or to a port number that there is not")]
    Number(String),
    /// More than rules are made for.
    #[error("the pod has {0} ports to forward, at most {MAX_FORWARDS} are possible")]
    TooMany(usize),
}

/// The pod's ports of the host. A port of an app that counts several makes as many, side by side.
pub fn forwards(
    networks: &[NetworkRequest],
    pod: &PodManifest,
    images: &BTreeMap<AcName, ImageManifest>,
    passed: &[SocketAddr],
) -> Result<Vec<Forward>, PortError> {
    // stage0 refuses --port then; a manifest of the user's own may still name ports.
    if networks.iter().any(|network| network.name == "none") {
        return Ok(Vec::new());
    }
    let mut forwards = Vec::new();
    for exposed in &pod.ports {
        let target = match &exposed.pod_port {
            Some(port) => port,
            None => find(&exposed.name, pod, images)?,
        };
        // Whoever connects there has a socket that listens already, the service manager's (`activation`).
        let is_passed = |address: &SocketAddr| u32::from(address.port()) == exposed.host_port;
        if target.socket_activated && passed.iter().any(is_passed) {
            continue;
        }
        let count = target.count.max(1);
        if usize::try_from(count).map_or(true, |count| count > MAX_FORWARDS - forwards.len()) {
            return Err(PortError::TooMany(
                forwards.len().saturating_add(usize::try_from(count).unwrap_or(0)),
            ));
        }
        for offset in 0..count {
            forwards.push(forward(exposed, target, offset)?);
        }
    }
    Ok(forwards)
}

fn find<'p>(
    name: &AcName,
    pod: &'p PodManifest,
    images: &'p BTreeMap<AcName, ImageManifest>,
) -> Result<&'p Port, PortError> {
    let section =
        |app: &'p appc::RuntimeApp| app.app.as_ref().or_else(|| images.get(&app.name)?.app.as_ref());
    let ports = pod.apps.iter().filter_map(section).flat_map(|app| &app.ports);
    let mut named = ports.filter(|port| port.name == *name);
    match (named.next(), named.next()) {
        (Some(port), None) => Ok(port),
        _ => Err(PortError::NoSuchPort(name.to_string())),
    }
}

fn forward(exposed: &ExposedPort, target: &Port, offset: u32) -> Result<Forward, PortError> {
    let number = |port: u32| {
        let port = port.checked_add(offset).and_then(|port| u16::try_from(port).ok());
        port.filter(|port| *port != 0).ok_or_else(|| PortError::Number(exposed.name.to_string()))
    };
    let protocol = match target.protocol.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => {
            return Err(PortError::Protocol { name: exposed.name.to_string(), protocol: other.to_owned() });
        }
    };
    // `::` takes IPv4 in.
    let host = exposed.host_ip.filter(|host| !(host.is_ipv6() && host.is_unspecified()));
    Ok(Forward { protocol, host, host_port: number(exposed.host_port)?, pod_port: number(target.port)? })
}

/// Takes the ports, before anything of the pod is there.
pub fn reserve(uuid: Uuid, forwards: &[Forward]) -> Result<Reservation, ReservationError> {
    Reservation::make(forwards).map_err(|error| match error {
        ReservationError::Taken { protocol, address, port, .. } => {
            let owner = owner(uuid, &line(protocol, address, port));
            ReservationError::Taken { protocol, address, port, owner }
        }
        other => other,
    })
}

/// The running pod whose record has a port like this one.
fn owner(uuid: Uuid, wanted: &str) -> Option<String> {
    let own = uuid.to_string();
    let port = |line: &str| {
        let (rest, port) = line.rsplit_once(' ')?;
        Some((rest.split_once(' ')?.0.to_owned(), port.to_owned()))
    };
    for entry in fs::read_dir("..").ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let has = |text: &str| text.lines().any(|line| port(line) == port(wanted));
        if name != own
            && is_running(&entry.path())
            && read_record(&entry.path()).is_some_and(|text| has(&text))
        {
            return Some(name);
        }
    }
    None
}

/// Whoever runs a pod holds its directory's lock (rkt-reference 2.4).
fn is_running(pod: &Path) -> bool {
    File::open(pod)
        .is_ok_and(|directory| rustix::fs::flock(&directory, FlockOperation::NonBlockingLockShared).is_err())
}

fn read_record(pod: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(pod.join(RECORD)).ok()?.take(MAX_RECORD_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

fn line(protocol: Protocol, address: IpAddr, port: u16) -> String {
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol} {address} {port}")
}

/// What is known of a network before its plugins run.
#[derive(Clone, Copy, Debug)]
pub struct Intent {
    /// rkt's own rules masquerade, in the plugin's place.
    masquerade: bool,
    /// What leaves it is masqueraded, by whomever.
    outward: bool,
    reach: Reach,
    /// Its plugins forward ports by themselves.
    forwards: bool,
}

/// Takes over from the plugins of rkt's own networks what they would need programs of the host for.
pub fn intents(selected: &mut [Selected]) -> Vec<Intent> {
    selected
        .iter_mut()
        .map(|Selected { network, .. }| Intent {
            outward: network.ip_masq(),
            masquerade: network.built_in && network.take_masquerade(),
            reach: if network.built_in && network.name == RESTRICTED {
                Reach::Host
            } else {
                Reach::Everybody
            },
            forwards: network.has_capability("portMappings"),
        })
        .collect()
}

/// The network that ports lead to: the first whose traffic is masqueraded, else the last (rkt-reference 6.7).
pub fn forwardable(intents: &[Intent]) -> usize {
    let first = intents.iter().position(|intent| intent.outward);
    first.unwrap_or(intents.len().saturating_sub(1))
}

/// What the plugins of the network are told of ports: all of them if it is the one, and they forward by themselves.
pub fn port_mappings(intents: &[Intent], number: usize, forwards: &[Forward]) -> Vec<PortMapping> {
    let takes = intents.get(number).is_some_and(|intent| intent.forwards) && forwardable(intents) == number;
    let mapping = |forward: &Forward| PortMapping {
        host_port: forward.host_port,
        container_port: forward.pod_port,
        protocol: match forward.protocol {
            Protocol::Tcp => "tcp".to_owned(),
            Protocol::Udp => "udp".to_owned(),
        },
        host_ip: forward.host,
    };
    if takes { forwards.iter().map(mapping).collect() } else { Vec::new() }
}

/// The pod as the packet filter sees it. `links` are its interfaces, in order. Runs in the host's name space.
pub fn pod(
    wanted: &super::Wanted<'_>,
    intents: &[Intent],
    links: &[(String, &links::Link)],
) -> Result<Pod, NetworkError> {
    let mut kernel = None;
    let mut pod = Pod {
        uuid: wanted.uuid.to_string(),
        forward_to: forwardable(intents),
        egress: wanted.egress.map(<[_]>::to_vec),
        ..Pod::default()
    };
    for ((network, link), intent) in links.iter().zip(intents) {
        let failed = |cause| NetworkError::Kernel {
            network: network.clone(),
            doing: "find the host's side of its interface",
            cause,
        };
        let kernel = match &mut kernel {
            Some(kernel) => kernel,
            None => kernel.insert(Connection::open().map_err(failed)?),
        };
        let side = links::host_side(kernel, link).map_err(failed)?;
        let addresses =
            addresses(link).map_err(|cause| NetworkError::Subnet { network: network.clone(), cause })?;
        let (interface, own, port) = match side {
            Some(HostSide { name, own, port }) => (Some(name), own, port),
            None => (None, false, None),
        };
        pod.links.push(Link {
            network: network.clone(),
            interface,
            own,
            port,
            addresses,
            masquerade: intent.masquerade,
            reach: intent.reach,
        });
    }
    if !intents.get(pod.forward_to).is_some_and(|intent| intent.forwards) {
        pod.forwards = wanted.forwards.to_vec();
    }
    Ok(pod)
}

fn addresses(link: &links::Link) -> Result<Vec<PodAddress>, SubnetError> {
    let prefixes = link.spec.addresses.iter().map(|it| it.prefix);
    let address = |it: guest_api::Prefix| {
        Ok(PodAddress { address: it.address, subnet: Subnet::new(it.address, it.length)? })
    };
    prefixes.map(address).collect()
}

/// Drops what arrives at a tap of the calling thread's name space and is not redirected before it gets here. The name space has a stack
/// of its own, which would otherwise forward it if this host forwards: the setting is inherited.
pub fn drop_what_is_left(taps: &[String]) -> Result<(), NetworkError> {
    let table = Table { family: Family::Netdev, name: "rkt" };
    let mut batch = Batch::new();
    batch.add_table(table);
    for tap in taps {
        let hook = Hook::Ingress { device: tap };
        batch.add_chain(table, &Chain { name: tap, hook, priority: Priority::Filter, policy: Policy::Drop });
    }
    let dropped = nftables::Connection::open().and_then(|mut connection| connection.commit(batch));
    Ok(dropped.map_err(::firewall::table::TableError::from)?)
}

/// Makes the rules.
pub fn install(pod: &Pod, forwards: &[Forward]) -> Result<(), NetworkError> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let lines = forwards.iter().map(|it| line(it.protocol, it.host.unwrap_or(any), it.host_port) + "\n");
    fs::write(RECORD, lines.collect::<String>()).map_err(|cause| NetworkError::File {
        action: "write",
        path: PathBuf::from(RECORD),
        cause,
    })?;
    fault::point("network.firewall.recorded");
    firewall::table::install(pod)?;
    fault::point("network.firewall.made");
    Ok(())
}

/// Removes the rules if there may be any.
pub fn remove(uuid: Uuid) -> Result<(), NetworkError> {
    if !Path::new(RECORD).exists() {
        return Ok(());
    }
    firewall::table::remove(&uuid.to_string())?;
    fault::point("network.firewall.removed");
    match fs::remove_file(RECORD) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(NetworkError::File { action: "remove", path: PathBuf::from(RECORD), cause })
        }
        _ => Ok(()),
    }
}

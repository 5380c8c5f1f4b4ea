//! The order in which a pod's networks come to be.
//!
//! Responsible for: name space, plugins, taps, and what the pod's directory says about them; all of it or nothing. Must not know:
//! how any of them is done. Follows docs/architecture.md, "Networks", and rkt-reference 4.9 and 6.7.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::firewall::{Destination, Forward, PodAddress, dhcp, spoofing};
use cni::{
    AddResult, Attachment, Cache, Client, Directories, Dns, Network, Request, RuntimeConfig, Selected,
    Selection,
};
use guest_api::{MAX_INTERFACES, NetworkSpec, Prefix};
use netlink::{Connection, NetlinkError};
use uuid::Uuid;

use super::firewall::{self, Intent};
use super::links::{self, Link};
use super::namespace::Namespace;
use super::tap::{self, Card};
use super::{BUILT_IN_NETWORKS, LOCAL_CONFIG, NetworkError, info, redirect, settings, teardown};
use crate::diagnostics::sentence;
use crate::fault;
use crate::flags::NetworkRequest;
use crate::pod_directory;

/// The argument with which plugins pass over those that they do not know (the specification's conventions).
const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

/// The plugin that gets addresses from a DHCP server.
const DHCP: &str = "dhcp";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The pod.
    pub uuid: Uuid,
    /// Its networks, as `--net` names them.
    pub networks: &'a [NetworkRequest],
    /// Root of the administrator's configuration.
    pub local_config: Option<&'a Path>,
    /// Virtual CPUs of its machine.
    pub vcpus: u8,
    /// Ports of the host that lead into it.
    pub forwards: &'a [Forward],
    /// Whom it may call; everybody if that was not said.
    pub egress: Option<&'a [Destination]>,
    /// Can be read from when somebody does not want to wait for plugins any more.
    pub interrupt: Option<Arc<File>>,
}

/// The networks of a pod.
#[derive(Debug, Default)]
pub struct Networks {
    /// Cards of the machine, in the order of the interfaces.
    pub cards: Vec<Card>,
    /// What the guest is told.
    pub spec: NetworkSpec,
    /// The first network that says how names are looked up, and what it says.
    pub names: Option<(String, Dns)>,
    /// Where its ports lead.
    pub forward_to: Vec<PodAddress>,
    /// What to tell the user.
    pub notices: Vec<String>,
}

/// A network and its interface.
struct Attached {
    name: String,
    link: Link,
}

/// Sets up the networks of the pod in the working directory. If that fails, everything that was begun has been undone.
pub fn set_up(wanted: &Wanted<'_>) -> Result<Networks, NetworkError> {
    let requests = wanted.networks.iter();
    let requests = requests.map(|it| Request { name: it.name.clone(), args: it.arguments.clone() });
    let selection = Selection::new(requests.collect());
    if selection.is_none() {
        info::write(&[])?;
        return Ok(Networks::default());
    }
    let local_config = wanted.local_config.unwrap_or(Path::new(LOCAL_CONFIG));
    let directories =
        Directories { built_in: pod_directory::stage1(BUILT_IN_NETWORKS), local: local_config.join("net.d") };
    let loaded = cni::load(&directories, &selection)?;
    if loaded.networks.len() > MAX_INTERFACES {
        return Err(NetworkError::TooMany(loaded.networks.len()));
    }
    let mut selected = loaded.networks;
    let intents = firewall::intents(&mut selected);
    match make(wanted, &selected, &intents) {
        Ok(mut networks) => {
            networks.notices.splice(0..0, loaded.notices);
            Ok(networks)
        }
        Err(error) => {
            Err(match teardown::tear_down(wanted.uuid, wanted.local_config, wanted.interrupt.clone()) {
                Ok(()) => error,
                Err(undo) => NetworkError::NotUndone { failure: sentence(&error), undo: sentence(&undo) },
            })
        }
    }
}

fn make(wanted: &Wanted<'_>, selected: &[Selected], intents: &[Intent]) -> Result<Networks, NetworkError> {
    let (client, cache) = (super::client(wanted.local_config, wanted.interrupt.clone()), super::cache());
    let copies = info::copy_configurations(selected)?;
    let namespace = Namespace::make(wanted.uuid)?;
    let mut results = Vec::new();
    for (number, network) in selected.iter().enumerate() {
        let port_mappings = firewall::port_mappings(intents, number, wanted.forwards);
        let runtime = RuntimeConfig { port_mappings, ..RuntimeConfig::default() };
        let result = add(&client, &cache, wanted.uuid, network, &namespace, runtime)?;
        fault::point("network.added");
        results.push(result);
    }
    let pairs = tap::queue_pairs(wanted.vcpus);
    let (attached, mut networks) = namespace.inside(|| connect(selected, pairs))??;
    if let Some(network) = attached.iter().find(|it| it.link.spec.addresses.is_empty()) {
        return Err(NetworkError::NoAddress(network.name.clone()));
    }
    check_subnets(&attached)?;
    networks.spec.check()?;
    networks.take_names(selected, &results);
    let links: Vec<_> = attached.iter().map(|it| (it.name.clone(), &it.link)).collect();
    let mut pod = firewall::pod(wanted, intents, &links)?;
    firewall::install(&pod, wanted.forwards)?;
    pod.forwards = wanted.forwards.to_vec();
    networks.forward_to = pod.forward_addresses();
    let entries: Vec<info::Entry> = selected
        .iter()
        .zip(&copies)
        .zip(&attached)
        .map(|((network, copy), it)| info::entry(network, copy, &it.link.spec.addresses, wanted.local_config))
        .collect();
    info::write(&entries)?;
    fault::point("network.written");
    Ok(networks)
}

fn add(
    client: &Client,
    cache: &Cache,
    uuid: Uuid,
    selected: &Selected,
    namespace: &Namespace,
    runtime: RuntimeConfig,
) -> Result<AddResult, NetworkError> {
    let attachment = Attachment {
        container_id: uuid.to_string(),
        netns: namespace.path().to_owned(),
        ifname: selected.ifname.clone(),
        args: tolerant(&selected.args),
        runtime,
    };
    Ok(client.add(cache, &selected.network, &attachment)?)
}

/// Arguments are for whichever plugin of the chain knows them; the others would refuse them without this word.
fn tolerant(arguments: &str) -> String {
    if arguments.is_empty() || arguments.contains(IGNORE_UNKNOWN) {
        return arguments.to_owned();
    }
    format!("{IGNORE_UNKNOWN}=1;{arguments}")
}

/// Puts a tap beside every interface. Runs in the pod's name space.
fn connect(selected: &[Selected], pairs: usize) -> Result<(Vec<Attached>, Networks), NetworkError> {
    let mut networks = Networks::default();
    let (mut attached, mut taps) = (Vec::new(), Vec::new());
    let mut kernel = None;
    for (number, Selected { network, ifname, .. }) in selected.iter().enumerate() {
        let failed = |doing| {
            let network = network.name.clone();
            move |cause: NetlinkError| NetworkError::Kernel { network, doing, cause }
        };
        let kernel = match &mut kernel {
            Some(kernel) => kernel,
            None => {
                kernel.insert(Connection::open().map_err(failed("configure the pod's network name space"))?)
            }
        };
        let interface = || (network.name.clone(), ifname.clone());
        let link = links::read(kernel, ifname).map_err(failed("read what its plugin has made"))?;
        let link = link.ok_or_else(|| {
            let (network, interface) = interface();
            NetworkError::NoInterface { network, interface }
        })?;
        if !link.is_ethernet {
            let (network, interface) = interface();
            return Err(NetworkError::NotEthernet { network, interface });
        }
        if link.is_routed {
            let (network, interface) = interface();
            return Err(NetworkError::Routed { network, interface });
        }
        networks.spec.settings.extend(settings::read(network, ifname)?);
        let (mac, mtu) = (link.spec.mac, link.spec.mtu);
        let tap = format!("tap{number}");
        let (queues, index) = tap::make(kernel, &network.name, &tap, pairs, mtu)?;
        taps.push(tap);
        let addresses: Vec<_> = link.spec.addresses.iter().map(|it| it.prefix.address).collect();
        let filter = spoofing::filter(mac, &addresses)
            .map_err(|cause| NetworkError::Addresses { network: network.name.clone(), cause })?;
        let from_network =
            if has_dhcp(network) { dhcp::all_but_answers() } else { vec![spoofing::PASS_EVERYTHING] };
        redirect::join(kernel, link.index, index, &filter, &from_network)
            .map_err(failed("redirect what arrives at its interface"))?;
        let left_out = link.left_out.iter();
        networks
            .notices
            .extend(left_out.map(|what| format!("network {:?}: the pod does not get {what}", network.name)));
        networks.cards.push(Card { queues, mac, mtu });
        networks.spec.interfaces.push(link.spec.clone());
        attached.push(Attached { name: network.name.clone(), link });
    }
    if let (Some(kernel), Some(Selected { network, .. })) = (&mut kernel, selected.first()) {
        let doing = "read the routing rules";
        let failed = |cause| NetworkError::Kernel { network: network.name.clone(), doing, cause };
        let (rules, left_out) = links::rules(kernel).map_err(failed)?;
        networks.spec.rules = rules;
        networks.notices.extend(left_out.iter().map(|what| format!("the pod does not get {what}")));
    }
    firewall::drop_what_is_left(&taps)?;
    fault::point("network.connected");
    Ok((attached, networks))
}

/// Whether the plugin's daemon has a lease to renew.
fn has_dhcp(network: &Network) -> bool {
    network.plugins.iter().any(|plugin| plugin.ipam_kind.as_deref() == Some(DHCP))
}

/// Whichever of two such interfaces a packet took would be chance.
fn check_subnets(attached: &[Attached]) -> Result<(), NetworkError> {
    for (position, second) in attached.iter().enumerate() {
        for first in attached.iter().take(position) {
            let others = second.link.spec.addresses.iter().map(|it| it.prefix);
            let clash = others
                .into_iter()
                .find(|subnet| first.link.spec.addresses.iter().any(|own| overlap(own.prefix, *subnet)));
            if let Some(subnet) = clash {
                let (first, second) = (first.name.clone(), second.name.clone());
                return Err(NetworkError::SameSubnet { first, second, subnet });
            }
        }
    }
    Ok(())
}

fn overlap(one: Prefix, other: Prefix) -> bool {
    use std::net::IpAddr::{V4, V6};

    let length = u32::from(one.length.min(other.length));
    match (one.address, other.address) {
        (V4(one), V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= length.min(32),
        (V6(one), V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= length.min(128),
        _ => false,
    }
}

impl Networks {
    /// The first network that knows name servers counts.
    fn take_names(&mut self, selected: &[Selected], results: &[AddResult]) {
        for (network, result) in selected.iter().zip(results).filter(|(_, result)| !result.dns.is_empty()) {
            let name = &network.network.name;
            match &self.names {
                None => self.names = Some((name.clone(), result.dns.clone())),
                Some((first, _)) => self.notices.push(format!(
                    "warning: ignoring the DNS configuration of network {name:?}: that of network {first:?} is used"
                )),
            }
        }
    }
}

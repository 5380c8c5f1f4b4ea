//! A pod as the host's packet filter sees it.
//!
//! Responsible for: the data that rules are made of. Must not know: rules. Follows rkt-reference.md 6.7.

use std::net::IpAddr;

use nftables::{Protocol, Subnet};

use crate::egress::Destination;

/// A port of the host that leads into the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address; every address if there is none.
    pub host: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The pod's port.
    pub pod_port: u16,
}

/// An address of the pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// The address.
    pub address: IpAddr,
    /// Who else is on its network.
    pub subnet: Subnet,
}

/// Whom a pod may call on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Whomever the host's routing leads to.
    #[default]
    Everybody,
    /// The host only.
    Host,
}

/// One of the pod's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The network's name.
    pub network: String,
    /// The interface of the host's by which the pod's packets come in; there is none if they do not pass through the host's routing.
    pub interface: Option<String>,
    /// The interface is this pod's alone.
    pub own: bool,
    /// If it is a bridge, the pod's port of it.
    pub port: Option<String>,
    /// The pod's addresses.
    pub addresses: Vec<PodAddress>,
    /// What leaves the network gets the host's address.
    pub masquerade: bool,
    /// Whom the pod may call on it.
    pub reach: Reach,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its UUID.
    pub uuid: String,
    /// Its networks.
    pub links: Vec<Link>,
    /// Ports that lead into it.
    pub forwards: Vec<Forward>,
    /// Which of the networks they lead to.
    pub forward_to: usize,
    /// Whom the pod may call; everybody if that was not said.
    pub egress: Option<Vec<Destination>>,
}

impl Pod {
    /// The network that ports lead to, if there are ports.
    pub fn forward_link(&self) -> Option<&Link> {
        self.links.get(self.forward_to).filter(|_| !self.forwards.is_empty())
    }

    /// Addresses that ports lead to: one IPv4 address and one IPv6 address at most.
    pub fn forward_addresses(&self) -> Vec<PodAddress> {
        let addresses = self.forward_link().map(|link| link.addresses.as_slice()).unwrap_or_default();
        let v4 = addresses.iter().find(|address| address.address.is_ipv4());
        let v6 = addresses.iter().find(|address| address.address.is_ipv6());
        v4.into_iter().chain(v6).copied().collect()
    }
}

//! The network part of a pod's specification: interfaces, addresses, routes and rules, and what they must be like.
//!
//! Responsible for: the data, and the one check of it that both sides make. Must not know: where it comes from, and how it is put
//! into effect. Follows rtnetlink(7), ip-rule(8) and the CNI specification 1.1.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Interfaces of one pod besides its loopback: every one is a device of the machine, and takes two threads' worth of buffers.
pub const MAX_INTERFACES: usize = 8;

/// Addresses of one interface. Networks give one for each protocol.
pub const MAX_ADDRESSES: usize = 64;

/// Routes of one interface, and rules of one pod: what an administrator writes by hand, not a full table of the Internet's.
pub const MAX_ROUTES: usize = 1024;

/// Longest name of an interface (`IFNAMSIZ` without the final NUL).
pub const MAX_INTERFACE_NAME_BYTES: usize = 15;

/// Settings of a pod's network: what an administrator writes by hand.
pub const MAX_SETTINGS: usize = 256;

/// Longest name and longest value of a setting; the kernel's are below 100 bytes.
pub const MAX_SETTING_BYTES: usize = 1024;

/// The smallest packet size that IPv4 allows (RFC 791).
const MIN_MTU: u16 = 68;

/// The smallest packet size with which the kernel takes IPv6 addresses (RFC 8200, 5).
const MIN_MTU_OF_IPV6: u16 = 1280;

/// The table of addresses of the machine itself, which the kernel fills (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u32 = 255;

/// The networks of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Interfaces, in the order of the machine's devices.
    pub interfaces: Vec<InterfaceSpec>,
    /// Which table of routes is asked when, besides what the kernel has by itself.
    pub rules: Vec<RuleSpec>,
    /// Settings of the kernel's (sysctl(8)), put into effect behind everything else.
    pub settings: Vec<SettingSpec>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSpec {
    /// Its name.
    pub name: String,
    /// Its hardware address, by which its device is recognised.
    pub mac: [u8; 6],
    /// Bytes of its longest packet.
    pub mtu: u16,
    /// Its addresses.
    pub addresses: Vec<AddressSpec>,
    /// All routes over it, those to its own subnets included, in the order in which they are to be made.
    pub routes: Vec<RouteSpec>,
    /// Nobody is asked for hardware addresses on it: whatever is sent has the interface's own as its destination.
    pub no_arp: bool,
}

/// A setting of the kernel's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingSpec {
    /// Its path below `/proc/sys`: `net/core/somaxconn`.
    pub name: String,
    /// What it is set to.
    pub value: String,
}

/// An address and how many of its bits name the subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// The address, or the first address of the subnet.
    pub address: IpAddr,
    /// Number of bits.
    pub length: u8,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpec {
    /// The address and its subnet; no route to the subnet follows from it.
    pub prefix: Prefix,
    /// The number of its scope (`rt_scope_t`), 0 for the world.
    pub scope: u8,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Where to.
    pub destination: Prefix,
    /// Over which neighbour.
    pub gateway: Option<IpAddr>,
    /// The pod's own address to send from.
    pub source: Option<IpAddr>,
    /// The number of its scope (`rt_scope_t`).
    pub scope: u8,
    /// The number of its table.
    pub table: u32,
    /// The lower, the earlier it is taken.
    pub metric: Option<u32>,
    /// Bytes of the longest packet, if it is shorter than the interface's.
    pub mtu: Option<u32>,
    /// The gateway is a neighbour although no route says so.
    pub onlink: bool,
}

/// When a table of routes is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Whether it is about IPv6.
    pub ipv6: bool,
    /// The lower, the earlier.
    pub priority: u32,
    /// Only for packets from here.
    pub source: Option<Prefix>,
    /// Only for packets to here.
    pub destination: Option<Prefix>,
    /// The number of the table.
    pub table: u32,
}

/// What is wrong with a specification, for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NetworkFault(String);

fn fault<T>(text: String) -> Result<T, NetworkFault> {
    Err(NetworkFault(text))
}

impl NetworkSpec {
    /// Whether all of it can be. The host asks before it boots a machine for it, the guest before it believes it.
    pub fn check(&self) -> Result<(), NetworkFault> {
        if self.interfaces.len() > MAX_INTERFACES {
            return fault(format!("a pod can have {MAX_INTERFACES} networks, not {}", self.interfaces.len()));
        }
        if self.rules.len() > MAX_ROUTES {
            return fault(format!("{} routing rules are too many", self.rules.len()));
        }
        let mut names = BTreeSet::new();
        for interface in &self.interfaces {
            if !names.insert(&interface.name) {
                return fault(format!("two interfaces are called {:?}", interface.name));
            }
            interface.check()?;
        }
        if self.settings.len() > MAX_SETTINGS {
            return fault(format!("{} settings are too many", self.settings.len()));
        }
        self.rules.iter().try_for_each(RuleSpec::check)?;
        self.settings.iter().try_for_each(SettingSpec::check)
    }
}

impl InterfaceSpec {
    fn check(&self) -> Result<(), NetworkFault> {
        let Self { name, mac, mtu, addresses, routes, no_arp: _ } = self;
        if !is_interface_name(name) {
            return fault(format!("{name:?} is no name of an interface"));
        }
        let fault = |text: String| fault(format!("interface {name}: {text}"));
        if mac[0] & 1 != 0 || *mac == [0; 6] {
            return fault("its hardware address is not one of a single card".to_owned());
        }
        if *mtu < MIN_MTU {
            return fault(format!("an MTU of {mtu} bytes is too small"));
        }
        if addresses.len() > MAX_ADDRESSES || routes.len() > MAX_ROUTES {
            return fault(format!("{} addresses and {} routes are too many", addresses.len(), routes.len()));
        }
        if *mtu < MIN_MTU_OF_IPV6 && addresses.iter().any(|it| it.prefix.address.is_ipv6()) {
            return fault(format!("an MTU of {mtu} bytes is too small for IPv6"));
        }
        for AddressSpec { prefix, .. } in addresses {
            // Loopback is the pod's own, and the metadata service is there.
            if !prefix.is_valid() || !is_of_one(prefix.address) || prefix.address.is_loopback() {
                return fault(format!("{prefix} is no address of an interface"));
            }
        }
        match routes.iter().find(|route| !route.is_valid()) {
            Some(route) => fault(format!("the route to {} is none", route.destination)),
            None => Ok(()),
        }
    }
}

impl RouteSpec {
    fn is_valid(&self) -> bool {
        let alike = |address: &IpAddr| address.is_ipv6() == self.destination.address.is_ipv6();
        self.destination.is_valid()
            && self.gateway.iter().all(|it| alike(it) && is_of_one(*it))
            && self.source.iter().all(|it| alike(it) && is_of_one(*it))
            && self.table != 0
            && self.table != LOCAL_TABLE
    }
}

impl RuleSpec {
    fn check(&self) -> Result<(), NetworkFault> {
        let mut prefixes = self.source.iter().chain(&self.destination);
        if self.table == 0
            || !prefixes.all(|prefix| prefix.is_valid() && prefix.address.is_ipv6() == self.ipv6)
        {
            return fault(format!("the routing rule of priority {} is none", self.priority));
        }
        Ok(())
    }
}

impl SettingSpec {
    fn check(&self) -> Result<(), NetworkFault> {
        let is_name =
            |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic());
        let mut parts = self.name.split('/');
        let is_of_network = parts.next() == Some("net") && self.name.len() <= MAX_SETTING_BYTES;
        if !is_of_network || parts.clone().count() == 0 || !parts.all(is_name) {
            return fault(format!("{:?} is no setting of the network", self.name));
        }
        if self.value.len() > MAX_SETTING_BYTES {
            return fault(format!("the value of the setting {} is too long", self.name));
        }
        Ok(())
    }
}

impl Prefix {
    fn is_valid(self) -> bool {
        self.length <= if self.address.is_ipv6() { 128 } else { 32 }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Whether a single machine can have the address.
fn is_of_one(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// Whether the kernel takes the name (`dev_valid_name`), and a person can read it.
pub fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME_BYTES).contains(&name.len())
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
}

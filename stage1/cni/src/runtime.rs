//! What a caller says about one attachment of a container to a network.
//!
//! Responsible for: the types, and their form in a plugin's `runtimeConfig`. Must not know: where they come from. Follows
//! the specification's "Parameters" and its conventions
//! (<https://www.cni.dev/docs/conventions/#dynamic-plugin-specific-fields-capabilities--runtime-configuration>).

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Plugin;
use crate::error::CniError;
use crate::result::IpNet;

/// The longest interface name that Linux takes (IFNAMSIZ less its zero).
pub const LONGEST_INTERFACE_NAME: usize = 15;

/// One container's interface on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID`: letters, digits, `_`, `.`, `-`.
    pub container_id: String,
    /// `CNI_NETNS`: path of the network namespace.
    pub netns: PathBuf,
    /// `CNI_IFNAME`: name of the interface in that namespace.
    pub ifname: String,
    /// `CNI_ARGS`, as written by the user: `K=V;K=V`.
    pub args: String,
    /// What the plugins that declare the capability are given.
    pub runtime: RuntimeConfig,
}

/// Values of the well-known capabilities; a plugin gets those it declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// `portMappings`: ports of the host to forward.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// `ips`: addresses asked for, with their prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpNet>,
    /// `mac`: hardware address asked for, `aa:bb:cc:dd:ee:ff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// `bandwidth`: limits of traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

impl Eq for RuntimeConfig {}

/// One forwarded port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the host.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Address of the host, or all of them.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// Limits of traffic: rates in bits a second, bursts in bits; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// Into the container.
    pub ingress_rate: u64,
    /// Into the container.
    pub ingress_burst: u64,
    /// Out of the container.
    pub egress_rate: u64,
    /// Out of the container.
    pub egress_burst: u64,
}

impl RuntimeConfig {
    /// The values that `plugin` declares it can use.
    pub fn for_plugin(&self, plugin: &Plugin) -> Map<String, Value> {
        let Ok(Value::Object(mut values)) = serde_json::to_value(self) else { return Map::new() };
        values.retain(|capability, _| plugin.capabilities.contains(capability));
        values
    }
}

impl Attachment {
    /// Checks what every plugin would have to refuse, before any of them has done something.
    ///
    /// # Errors
    /// [`CniError::ContainerId`], [`CniError::InterfaceName`] or [`CniError::Arguments`].
    pub fn validate(&self) -> Result<(), CniError> {
        let mut id = self.container_id.chars();
        let starts_well = id.next().is_some_and(|first| first.is_ascii_alphanumeric());
        if !starts_well || !id.all(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '-')) {
            return Err(CniError::ContainerId(self.container_id.clone()));
        }
        validate_interface_name(&self.ifname)?;
        if self.args.contains('\0') {
            return Err(CniError::Arguments(self.args.clone()));
        }
        Ok(())
    }
}

/// Checks a name against what Linux takes.
///
/// # Errors
/// [`CniError::InterfaceName`].
pub fn validate_interface_name(name: &str) -> Result<(), CniError> {
    let refused = |reason| Err(CniError::InterfaceName { name: name.to_owned(), reason });
    if name.is_empty() {
        return refused("it is empty");
    }
    if name.len() > LONGEST_INTERFACE_NAME {
        return refused("it is longer than 15 bytes");
    }
    if name == "." || name == ".." {
        return refused("it means a directory");
    }
    if name.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) {
        return refused("it has a slash, a colon or a space");
    }
    Ok(())
}

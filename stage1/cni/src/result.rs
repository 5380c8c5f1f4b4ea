//! What a plugin answers to ADD, whatever its version.
//!
//! Responsible for: one type for every version's result, and each version's JSON from it. Must not know: which plugin
//! answered. Follows "Section 5: Result Types" of the specification 1.1.0 and the same of 0.2.0, 0.3.1 and 0.4.0.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::version::{UnknownVersion, Version};

/// The result of ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddResult {
    /// The interfaces that were made, on the host's side and in the sandbox; none from plugins older than 0.3.0.
    pub interfaces: Vec<Interface>,
    /// The addresses that were given.
    pub ips: Vec<IpConfig>,
    /// The routes that were set.
    pub routes: Vec<Route>,
    /// For `/etc/resolv.conf`.
    pub dns: Dns,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as text; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU; zero if not said. From 1.1.0.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The sandbox it is in: a path; empty on the host's side.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Socket of a user-space interface. From 1.1.0.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// PCI device. From 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// Address and prefix.
    pub address: IpNet,
    /// The gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// Index in [`AddResult::interfaces`].
    pub interface: Option<usize>,
}

/// One route. All but the first two are from 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; see [`AddResult::next_hop`].
    pub gw: Option<IpAddr>,
    /// MTU along it.
    pub mtu: Option<u32>,
    /// Maximal segment size to announce along it.
    pub advmss: Option<u32>,
    /// Its metric.
    pub priority: Option<u32>,
    /// Its table.
    pub table: Option<u32>,
    /// Its scope, as in rtnetlink(7): 0 global, 253 link, 254 host.
    pub scope: Option<u32>,
}

impl Route {
    /// A plain route.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Route {
        Route { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// Name servers and the rest of resolv.conf(5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses, in order.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain; empty if there is none.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search list.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options.
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// An address and the length of its network's prefix, `10.1.2.3/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IpNet {
    /// The address, host bits included.
    pub address: IpAddr,
    /// At most 32, or 128.
    pub prefix: u8,
}

impl IpNet {
    /// The network itself: the same prefix, no host bits.
    pub fn network(self) -> IpNet {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::from((u32::from(address) & mask).to_be_bytes())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::from((u128::from(address) & mask).to_be_bytes())
            }
        };
        IpNet { address, prefix: self.prefix }
    }
}

/// A text that is no address with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no ADDRESS/PREFIX")]
pub struct IpNetError(pub String);

impl FromStr for IpNet {
    type Err = IpNetError;

    fn from_str(text: &str) -> Result<IpNet, IpNetError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            // Rust would take a sign.
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u8 = prefix.parse().ok().filter(|_| digits)?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            (prefix <= longest).then_some(IpNet { address, prefix })
        };
        parse().ok_or_else(|| IpNetError(text.to_owned()))
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for IpNet {
    type Error = IpNetError;

    fn try_from(text: String) -> Result<IpNet, IpNetError> {
        text.parse()
    }
}

impl From<IpNet> for String {
    fn from(net: IpNet) -> String {
        net.to_string()
    }
}

/// What is wrong with a result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It is no JSON, or not an object.
    #[error("it is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// It is of a version that we do not speak.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// It has not the form of its version.
    #[error("it is no result of CNI {version}")]
    Form {
        /// The version that it says it has.
        version: Version,
        /// Where it differs.
        #[source]
        cause: serde_json::Error,
    },
    /// An address belongs to an interface that is not there.
    #[error("address {address} is on interface {index}, of {count}")]
    Interface {
        /// The address.
        address: IpNet,
        /// The index that it names.
        index: usize,
        /// How many interfaces there are.
        count: usize,
    },
}

impl AddResult {
    /// Parses what a plugin printed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<AddResult, ResultError> {
        AddResult::from_json(serde_json::from_slice(text).map_err(ResultError::Json)?)
    }

    /// The same for JSON already parsed; the version is the one it names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(raw: Map<String, Value>) -> Result<AddResult, ResultError> {
        let version: Version = match raw.get("cniVersion") {
            None | Some(Value::Null) => Version::default(),
            Some(Value::String(version)) => version.parse()?,
            Some(other) => return Err(UnknownVersion(other.to_string()).into()),
        };
        let form = |cause| ResultError::Form { version, cause };
        let raw = Value::Object(raw);
        let result = if version.has_chains() {
            AddResult::from(serde_json::from_value::<Rich>(raw).map_err(form)?)
        } else {
            AddResult::from(serde_json::from_value::<Plain>(raw).map_err(form)?)
        };
        result.check_interfaces()?;
        Ok(result)
    }

    /// The result as JSON of `version`. What the version has no place for is left out: before 0.3.0 interfaces, and all
    /// but the first address of each family.
    pub fn to_json(&self, version: Version) -> Map<String, Value> {
        let value = if version.has_chains() {
            serde_json::to_value(Rich::new(self, version))
        } else {
            serde_json::to_value(Plain::new(self, version))
        };
        match value {
            Ok(Value::Object(object)) => object,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// Where packets on `route` go: its own gateway, else that of the first address of its family; nowhere if it is of
    /// the link.
    pub fn next_hop(&self, route: &Route) -> Option<IpAddr> {
        route.gw.or_else(|| self.gateway(route.dst.address.is_ipv4()))
    }

    /// The first gateway of a family.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        self.ips.iter().filter(|ip| ip.address.address.is_ipv4() == ipv4).find_map(|ip| ip.gateway)
    }

    fn check_interfaces(&self) -> Result<(), ResultError> {
        let count = self.interfaces.len();
        for ip in &self.ips {
            if let Some(index) = ip.interface.filter(|index| *index >= count) {
                return Err(ResultError::Interface { address: ip.address, index, count });
            }
        }
        Ok(())
    }
}

/// The form from 0.3.0 on.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rich {
    cni_version: Version,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    ips: Vec<RichIp>,
    #[serde(deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<JsonRoute>,
    #[serde(deserialize_with = "null_is_empty")]
    dns: Dns,
}

impl Default for Rich {
    fn default() -> Rich {
        Rich::new(&AddResult::default(), Version::default())
    }
}

#[derive(Serialize, Deserialize)]
struct RichIp {
    /// Only before 1.0.0, where it is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Value>,
    address: IpNet,
    #[serde(default, deserialize_with = "address", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    /// Old plugins wrote -1 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
}

impl Rich {
    fn new(result: &AddResult, version: Version) -> Rich {
        let ip = |ip: &IpConfig| RichIp {
            version: (version < Version::V1_0_0)
                .then(|| Value::from(if ip.address.address.is_ipv4() { "4" } else { "6" })),
            address: ip.address,
            gateway: ip.gateway,
            interface: ip.interface.and_then(|index| i64::try_from(index).ok()),
        };
        let interface = |interface: &Interface| {
            let mut interface = interface.clone();
            if version < Version::V1_1_0 {
                (interface.mtu, interface.socket_path, interface.pci_id) = Default::default();
            }
            interface
        };
        Rich {
            cni_version: version,
            interfaces: result.interfaces.iter().map(interface).collect(),
            ips: result.ips.iter().map(ip).collect(),
            routes: result.routes.iter().map(|route| JsonRoute::new(route, version)).collect(),
            dns: result.dns.clone(),
        }
    }
}

impl From<Rich> for AddResult {
    fn from(rich: Rich) -> AddResult {
        let ip = |ip: RichIp| IpConfig {
            address: ip.address,
            gateway: ip.gateway,
            interface: ip.interface.and_then(|index| usize::try_from(index).ok()),
        };
        AddResult {
            interfaces: rich.interfaces,
            ips: rich.ips.into_iter().map(ip).collect(),
            routes: rich.routes.into_iter().map(Route::from).collect(),
            dns: rich.dns,
        }
    }
}

/// The form of 0.1.0 and 0.2.0.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Plain {
    cni_version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<PlainIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<PlainIp>,
    #[serde(deserialize_with = "null_is_empty")]
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct PlainIp {
    ip: IpNet,
    #[serde(default, deserialize_with = "address", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<JsonRoute>,
}

impl Plain {
    fn new(result: &AddResult, version: Version) -> Plain {
        let family = |ipv4: bool| {
            let first = result.ips.iter().find(|ip| ip.address.address.is_ipv4() == ipv4)?;
            let routes = result.routes.iter().filter(|route| route.dst.address.is_ipv4() == ipv4);
            let routes = routes.map(|route| JsonRoute::new(route, version)).collect();
            Some(PlainIp { ip: first.address, gateway: first.gateway, routes })
        };
        Plain { cni_version: version, ip4: family(true), ip6: family(false), dns: result.dns.clone() }
    }
}

impl From<Plain> for AddResult {
    fn from(plain: Plain) -> AddResult {
        let mut result = AddResult { dns: plain.dns, ..AddResult::default() };
        for family in [plain.ip4, plain.ip6].into_iter().flatten() {
            result.ips.push(IpConfig { address: family.ip, gateway: family.gateway, interface: None });
            for route in family.routes {
                let mut route = Route::from(route);
                // 0.2.0: "gw: IP of the gateway … if omitted, the gateway of the address".
                route.gw = route.gw.or(family.gateway);
                result.routes.push(route);
            }
        }
        result
    }
}

#[derive(Serialize, Deserialize)]
struct JsonRoute {
    dst: IpNet,
    #[serde(default, deserialize_with = "address", skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    advmss: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
}

impl JsonRoute {
    fn new(route: &Route, version: Version) -> JsonRoute {
        let Route { dst, gw, mtu, advmss, priority, table, scope } = *route;
        if version < Version::V1_1_0 {
            return JsonRoute { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None };
        }
        JsonRoute { dst, gw, mtu, advmss, priority, table, scope }
    }
}

impl From<JsonRoute> for Route {
    fn from(route: JsonRoute) -> Route {
        let JsonRoute { dst, gw, mtu, advmss, priority, table, scope } = route;
        Route { dst, gw, mtu, advmss, priority, table, scope }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Go writes an empty slice as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Go writes an address that is not there as an empty string.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| <D::Error as serde::de::Error>::custom(format!("{text:?} is no IP address"))),
    }
}

//! The `flannel` type without the flannel plugin: the network that it would delegate to.
//!
//! Responsible for: the delegate's configuration from the daemon's subnet file. Must not know: how plugins run. Follows
//! rkt-reference 5.4 and the flannel plugin's own rules (<https://github.com/flannel-io/cni-plugin>).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::config::{ConfigError, Plugin, text};
use crate::result::{IpNet, IpNetError};

/// The `type` that is meant.
pub const KIND: &str = "flannel";

/// Where flanneld writes, unless `subnetFile` says otherwise.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// What the network is connected with, unless `delegate` says otherwise.
const DELEGATE_KIND: &str = "bridge";

/// The longest subnet file; real ones have four lines.
const LONGEST_SUBNET_FILE: u64 = 64 << 10;

/// Why there is no delegate.
#[derive(Debug, thiserror::Error)]
pub enum FlannelError {
    /// The daemon does not run, most likely.
    #[error("cannot read {} (does flanneld run?)", path.display())]
    SubnetFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A variable that is needed is not in the subnet file.
    #[error("{} has no {variable}", path.display())]
    MissingVariable {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: &'static str,
    },
    /// A variable of the subnet file makes no sense.
    #[error("{}: {variable}={value} is wrong", path.display())]
    Variable {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: &'static str,
        /// What it is.
        value: String,
    },
    /// `delegate` has a key that is not the user's to set.
    #[error("'delegate' dictionary must not have '{0}' field, it'll be set by flannel")]
    DelegateKey(&'static str),
    /// The configuration is wrong.
    #[error("its configuration is wrong")]
    Config(#[from] ConfigError),
    /// `delegate` is no object.
    #[error("'delegate' is no dictionary")]
    Delegate,
}

/// What flanneld says about this host.
struct Subnet {
    network: IpNet,
    subnet: IpNet,
    mtu: u64,
    masquerades: bool,
}

/// The plugin that `flannel` stands for on this host today.
pub(crate) fn delegate(flannel: &Plugin) -> Result<Plugin, FlannelError> {
    let path = PathBuf::from(text(&flannel.raw, "subnetFile")?.unwrap_or(SUBNET_FILE));
    let subnet = read(path)?;
    let mut raw = match flannel.raw.get("delegate") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(delegate)) => delegate.clone(),
        Some(_) => return Err(FlannelError::Delegate),
    };
    for key in ["name", "ipam"] {
        if raw.contains_key(key) {
            return Err(FlannelError::DelegateKey(key));
        }
    }
    raw.entry("type").or_insert_with(|| DELEGATE_KIND.into());
    // If the daemon masquerades, the plugin must not.
    raw.entry("ipMasq").or_insert_with(|| (!subnet.masquerades).into());
    raw.entry("mtu").or_insert_with(|| subnet.mtu.into());
    if raw.get("type").is_some_and(|kind| kind == DELEGATE_KIND) {
        raw.entry("isGateway").or_insert_with(|| true.into());
    }
    raw.insert(
        "ipam".to_owned(),
        json!({
            "type": "host-local",
            "subnet": subnet.subnet.to_string(),
            "routes": [{"dst": subnet.network.to_string()}],
        }),
    );
    if let Some(capabilities) = flannel.raw.get("capabilities") {
        raw.entry("capabilities").or_insert_with(|| capabilities.clone());
    }
    Ok(Plugin::try_from(raw)?)
}

/// Reads the file, lines of NAME=VALUE.
fn read(path: PathBuf) -> Result<Subnet, FlannelError> {
    let unreadable = |cause| FlannelError::SubnetFile { path: path.clone(), cause };
    let length = fs::metadata(&path).map_err(unreadable)?.len();
    if length > LONGEST_SUBNET_FILE {
        return Err(unreadable(io::Error::other("it is longer than 64 KiB")));
    }
    let content = fs::read_to_string(&path).map_err(unreadable)?;
    let variables: HashMap<&str, &str> =
        content.lines().filter_map(|line| line.trim().split_once('=')).collect();
    let variable = |name: &'static str| {
        let missing = || FlannelError::MissingVariable { path: path.clone(), variable: name };
        variables.get(name).copied().ok_or_else(missing)
    };
    let wrong = |variable: &'static str, value: &str| FlannelError::Variable {
        path: path.clone(),
        variable,
        value: value.to_owned(),
    };
    let net = |name: &'static str| -> Result<IpNet, FlannelError> {
        let value = variable(name)?;
        value.parse().map_err(|_: IpNetError| wrong(name, value))
    };
    let mtu = variable("FLANNEL_MTU")?;
    let masquerades = variable("FLANNEL_IPMASQ")?;
    Ok(Subnet {
        network: net("FLANNEL_NETWORK")?,
        subnet: net("FLANNEL_SUBNET")?.network(),
        mtu: mtu.parse().map_err(|_| wrong("FLANNEL_MTU", mtu))?,
        masquerades: masquerades.parse().map_err(|_| wrong("FLANNEL_IPMASQ", masquerades))?,
    })
}

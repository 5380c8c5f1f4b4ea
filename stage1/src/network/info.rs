//! What the pod's directory says about its networks: `net-info.json`, and copies of their configurations in `net/`.
//!
//! Responsible for: both, in rkt's form. Must not know: what teardown reads, which is the plugins' cache. Follows rkt-reference
//! 2.2 and 7.2.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni::Selected;
use guest_api::{AddressSpec, Prefix};
use serde::Serialize;

use super::{LOCAL_CONFIG, NetworkError, plugin_directories};
use crate::status;

/// Where the copies are.
const DIRECTORY: &str = "net";

/// One network, as rkt writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    net_name: String,
    net_conf: String,
    plugin_path: String,
    if_name: String,
    ip: String,
    args: String,
    mask: String,
}

/// Copies the networks' configurations into the pod's directory; returns where they are.
pub fn copy_configurations(selected: &[Selected]) -> Result<Vec<PathBuf>, NetworkError> {
    fs::create_dir_all(DIRECTORY).map_err(failed("make", Path::new(DIRECTORY)))?;
    let mut taken = BTreeSet::new();
    let mut copies = Vec::new();
    for Selected { network, ifname, .. } in selected {
        let name = network.source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A network of rkt's and one of the administrator's may be in files of one name.
        let name = if taken.insert(name.clone()) { name } else { format!("{ifname}-{name}") };
        let copy = Path::new(DIRECTORY).join(name);
        fs::copy(&network.source, &copy).map_err(failed("copy", &network.source))?;
        copies.push(copy);
    }
    Ok(copies)
}

/// What is written down of a network.
pub fn entry(
    selected: &Selected,
    copy: &Path,
    addresses: &[AddressSpec],
    local_config: Option<&Path>,
) -> Entry {
    let network = &selected.network;
    let prefixes = || addresses.iter().map(|it| it.prefix);
    let prefix = prefixes().find(|it| it.address.is_ipv4()).or_else(|| prefixes().next());
    let directories = plugin_directories(local_config.unwrap_or(Path::new(LOCAL_CONFIG)));
    let plugin = network.plugins.first().and_then(|plugin| cni::plugin::find(&plugin.kind, &directories));
    Entry {
        net_name: network.name.clone(),
        net_conf: copy.display().to_string(),
        plugin_path: plugin.map(|path| path.display().to_string()).unwrap_or_default(),
        if_name: selected.ifname.clone(),
        ip: prefix.map(|prefix| prefix.address.to_string()).unwrap_or_default(),
        args: selected.args.clone(),
        mask: prefix.map(mask).unwrap_or_default(),
    }
}

/// The mask of a prefix in the form of an address.
pub fn mask(prefix: Prefix) -> String {
    let length = u32::from(prefix.length);
    match prefix.address {
        IpAddr::V4(_) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(!host).to_string()
        }
        IpAddr::V6(_) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(!host).to_string()
        }
    }
}

/// Writes `net-info.json`.
pub fn write(entries: &[Entry]) -> Result<(), NetworkError> {
    let path = Path::new("net-info.json");
    let text = serde_json::to_string(entries).map_err(|error| failed("write", path)(error.into()))?;
    status::networks(&text).map_err(|error| failed("write", path)(io::Error::other(error)))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.to_owned();
    move |cause| NetworkError::File { action, path, cause }
}

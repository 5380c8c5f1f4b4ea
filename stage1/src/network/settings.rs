//! What a network's plugins have set in the pod's name space with sysctl(8).
//!
//! Responsible for: which settings that is, and what they are now, so that the guest gets the same. Must not know: what they mean.
//! Follows the documentation of the plugin `tuning` (cni.dev), the only one of the reference plugins that sets any for their own sake.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cni::Network;
use guest_api::{MAX_SETTING_BYTES, SettingSpec};
use serde_json::{Map, Value};

use super::NetworkError;

/// The plugin.
const TUNING: &str = "tuning";

/// What stands for the interface in the name of a setting.
const INTERFACE: &str = "IFNAME";

/// The network's settings for this interface. Runs in the pod's name space.
pub fn read(network: &Network, interface: &str) -> Result<Vec<SettingSpec>, NetworkError> {
    let mut settings = Vec::new();
    for name in names(network, interface) {
        let value = value(&name)?;
        settings.extend(value.map(|value| SettingSpec { name, value }));
    }
    Ok(settings)
}

/// The names, with slashes, in the order of the plugins.
pub fn names(network: &Network, interface: &str) -> Vec<String> {
    let keys = |map: Option<&Value>| -> Vec<String> {
        map.and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned().collect()
    };
    let tunings = network.plugins.iter().filter(|plugin| plugin.kind == TUNING);
    let written = tunings.flat_map(|plugin| {
        let argument = plugin.raw.get("args").and_then(|args| args.get("cni")?.get("sysctl"));
        [keys(plugin.raw.get("sysctl")), keys(argument)].concat()
    });
    let mut names: Vec<String> = Vec::new();
    for key in written {
        let name = key.replacen(INTERFACE, interface, 1).replace('.', "/");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What the kernel says it is, which the guest's kernel takes as it is. One that can only be written has no value.
fn value(name: &str) -> Result<Option<String>, NetworkError> {
    let path: PathBuf = Path::new("/proc/sys").join(name);
    let mut text = String::new();
    let read = |text: &mut String| -> io::Result<usize> {
        File::open(&path)?.take(MAX_SETTING_BYTES as u64).read_to_string(text)
    };
    match read(&mut text) {
        Ok(_) => Ok(Some(text.trim_end().to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        Err(cause) => Err(NetworkError::File { action: "read", path, cause }),
    }
}

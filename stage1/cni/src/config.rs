//! Network configurations: what rkt reads of them, and all of them for the plugins.
//!
//! Responsible for: parsing `.conf` (one plugin) and `.conflist` (a chain). Must not know: where the files lie (`load`
//! does). Follows "Section 1: Network configuration format" of the specification, rkt-reference 6.7, and libcni's conf.go
//! for what the specification leaves open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::version::{UnknownVersion, Version};

/// The longest chain; real ones have up to five plugins, and each costs a process.
pub const MOST_PLUGINS: usize = 32;

/// A network: a chain of plugins, of one or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// `name`.
    pub name: String,
    /// The versions that the configuration names (`cniVersion` and `cniVersions`), oldest first; none if it names none.
    pub versions: Vec<Version>,
    /// `disableCheck`: CHECK is not to be run.
    pub disable_check: bool,
    /// `disableGC`: GC is not to be run.
    pub disable_gc: bool,
    /// The plugins, in order of ADD.
    pub plugins: Vec<Plugin>,
    /// The file.
    pub source: PathBuf,
    /// Whether it came from the built-in directory.
    pub built_in: bool,
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Plugin {
    /// `type`: the executable's name.
    pub kind: String,
    /// `ipMasq`.
    pub ip_masq: bool,
    /// `mtu`; absent and 0 both mean the plugin's default.
    pub mtu: Option<u32>,
    /// `isDefaultGateway`.
    pub is_default_gateway: bool,
    /// `ipam.type`.
    pub ipam_kind: Option<String>,
    /// Those of `capabilities` that are true.
    pub capabilities: BTreeSet<String>,
    /// All of it, for the plugin.
    pub raw: Map<String, Value>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON, or not an object.
    #[error("it is not a JSON object")]
    Json(#[source] serde_json::Error),
    /// A key that must be there is not.
    #[error("{0:?} is missing")]
    Missing(&'static str),
    /// A key has a value of another type.
    #[error("{key:?} is {found}, want {expected}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The name cannot be given to a plugin.
    #[error("the network's name is {0:?}, want letters, digits, '_', '.', '-', a letter or digit first")]
    Name(String),
    /// The type would lead out of the plugins' directories.
    #[error("the plugin's type is {0:?}, want the name of an executable")]
    Kind(String),
    /// A list without plugins.
    #[error("\"plugins\" is empty")]
    NoPlugins,
    /// A list with too many.
    #[error("{0} plugins in one network, more than 32")]
    TooManyPlugins(usize),
    /// The only version named is one that we do not speak.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
}

impl Network {
    /// Parses the text of a `.conf` or a `.conflist`; which of them it is, the key `plugins` tells.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8], source: &Path, built_in: bool) -> Result<Network, ConfigError> {
        Network::from_json(object(text)?, source, built_in)
    }

    /// The same for JSON already parsed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(raw: Map<String, Value>, source: &Path, built_in: bool) -> Result<Network, ConfigError> {
        let name = text(&raw, "name")?.ok_or(ConfigError::Missing("name"))?.to_owned();
        validate_name(&name)?;
        let versions = versions(&raw)?;
        let disable_check = boolean(&raw, "disableCheck")?;
        let disable_gc = boolean(&raw, "disableGC")?;
        let plugins = match raw.get("plugins") {
            None => vec![Plugin::try_from(raw)?],
            Some(Value::Array(plugins)) => chain(plugins)?,
            Some(other) => return Err(type_error("plugins", "a list", other)),
        };
        Ok(Network {
            name,
            versions,
            disable_check,
            disable_gc,
            plugins,
            source: source.to_owned(),
            built_in,
        })
    }

    /// Whether a plugin of it masquerades.
    pub fn ip_masq(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.ip_masq)
    }

    /// Turns masquerading by the plugins off, for a caller that does it itself; returns whether it was on.
    pub fn take_masquerade(&mut self) -> bool {
        let mut wanted = false;
        for plugin in self.plugins.iter_mut().filter(|plugin| plugin.ip_masq) {
            wanted = true;
            plugin.ip_masq = false;
            plugin.raw.insert("ipMasq".to_owned(), Value::Bool(false));
        }
        wanted
    }

    /// Whether a plugin of it declares this capability (`portMappings`, `bandwidth`, …).
    pub fn has_capability(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }
}

impl TryFrom<Map<String, Value>> for Plugin {
    type Error = ConfigError;

    fn try_from(raw: Map<String, Value>) -> Result<Plugin, ConfigError> {
        let kind = text(&raw, "type")?.ok_or(ConfigError::Missing("type"))?.to_owned();
        // It becomes the name of a file in the plugins' directories.
        if kind.is_empty() || kind == "." || kind == ".." || kind.contains(['/', '\0']) {
            return Err(ConfigError::Kind(kind));
        }
        let ipam_kind = match raw.get("ipam") {
            None | Some(Value::Null) => None,
            Some(Value::Object(ipam)) => text(ipam, "type")?.map(str::to_owned),
            Some(other) => return Err(type_error("ipam", "an object", other)),
        };
        let mtu = match raw.get("mtu") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let mtu = value.as_u64().and_then(|mtu| u32::try_from(mtu).ok());
                Some(mtu.ok_or_else(|| type_error("mtu", "a number of bytes", value))?)
            }
        };
        let capabilities = match raw.get("capabilities") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(Value::Object(all)) => {
                all.iter().filter(|(_, on)| **on == Value::Bool(true)).map(|(name, _)| name.clone()).collect()
            }
            Some(other) => return Err(type_error("capabilities", "an object", other)),
        };
        Ok(Plugin {
            kind,
            ip_masq: boolean(&raw, "ipMasq")?,
            mtu: mtu.filter(|mtu| *mtu != 0),
            is_default_gateway: boolean(&raw, "isDefaultGateway")?,
            ipam_kind,
            capabilities,
            raw,
        })
    }
}

impl From<Plugin> for Map<String, Value> {
    fn from(plugin: Plugin) -> Map<String, Value> {
        plugin.raw
    }
}

/// A JSON text that is an object.
pub(crate) fn object(text: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    serde_json::from_slice(text).map_err(ConfigError::Json)
}

fn chain(plugins: &[Value]) -> Result<Vec<Plugin>, ConfigError> {
    if plugins.is_empty() {
        return Err(ConfigError::NoPlugins);
    }
    if plugins.len() > MOST_PLUGINS {
        return Err(ConfigError::TooManyPlugins(plugins.len()));
    }
    let plugin = |value: &Value| match value {
        Value::Object(raw) => Plugin::try_from(raw.clone()),
        other => Err(type_error("plugins", "a list of objects", other)),
    };
    plugins.iter().map(plugin).collect()
}

/// As in libcni: of `cniVersions`, those that are too new are left out; `cniVersion` alone must be one of ours.
fn versions(raw: &Map<String, Value>) -> Result<Vec<Version>, ConfigError> {
    let single = text(raw, "cniVersion")?.map(str::parse::<Version>);
    let mut versions = match raw.get("cniVersions") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => {
            let written = |value: &Value| match value {
                Value::String(version) => Ok(version.parse().ok()),
                other => Err(type_error("cniVersions", "a list of strings", other)),
            };
            all.iter().filter_map(|value| written(value).transpose()).collect::<Result<Vec<Version>, _>>()?
        }
        Some(other) => return Err(type_error("cniVersions", "a list", other)),
    };
    match single {
        Some(Ok(version)) => versions.push(version),
        Some(Err(unknown)) if versions.is_empty() => return Err(unknown.into()),
        Some(Err(_)) | None => {}
    }
    versions.sort_unstable();
    versions.dedup();
    Ok(versions)
}

/// The specification's pattern, which the plugins' own library enforces too.
fn validate_name(name: &str) -> Result<(), ConfigError> {
    let mut characters = name.chars();
    let starts_well = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
    if starts_well && characters.all(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '-')) {
        return Ok(());
    }
    Err(ConfigError::Name(name.to_owned()))
}

/// A string, or none; `null` is none, as for Go's decoder.
pub(crate) fn text<'a>(
    raw: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<&'a str>, ConfigError> {
    match raw.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(other) => Err(type_error(key, "a string", other)),
    }
}

/// True or false; libcni takes the words as strings too.
fn boolean(raw: &Map<String, Value>, key: &'static str) -> Result<bool, ConfigError> {
    match raw.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(word)) if word.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(type_error(key, "true or false", other)),
    }
}

fn type_error(key: &'static str, expected: &'static str, found: &Value) -> ConfigError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => found.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    ConfigError::Type { key, expected, found }
}

//! Why a network could not be found, set up or torn down.
//!
//! Responsible for: the crate's one error, and every message of it. Must not know: how it is printed. Follows
//! rkt-reference 6.7 for the messages that are rkt's own.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{ConfigError, Network, Plugin};
use crate::flannel::FlannelError;
use crate::plugin::{Command, PluginError};
use crate::version::Version;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// Configurations could not be read.
    #[error("cannot read {}", path.display())]
    ReadConfig {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A configuration is wrong.
    #[error("network configuration {} is wrong", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: ConfigError,
    },
    /// Nothing defines these networks.
    #[error("networks not found: {}", .0.join(", "))]
    NetworksNotFound(Vec<String>),
    /// No plugin could be given this container ID.
    #[error("container ID {0:?} is refused: want letters, digits, '_', '.', '-', a letter or digit first")]
    ContainerId(String),
    /// No interface could have this name.
    #[error("interface name {name:?} is refused: {reason}")]
    InterfaceName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The arguments cannot be put into an environment.
    #[error("network arguments {0:?} are refused: there is a zero byte in them")]
    Arguments(String),
    /// A plugin is not installed.
    #[error("network {network:?}: Could not find plugin {plugin:?} in {}", directories(.searched))]
    NoPlugin {
        /// The network.
        network: String,
        /// The plugin's type.
        plugin: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A plugin failed.
    #[error("network {network:?}: plugin {plugin:?} failed on {command}")]
    Plugin {
        /// The network.
        network: String,
        /// The plugin's type.
        plugin: String,
        /// What it was asked to do.
        command: Command,
        /// What it said, or what happened to it.
        #[source]
        cause: PluginError,
    },
    /// The plugins of a chain speak no version in common.
    #[error("network {network:?}: its plugins support no CNI version in common (asked for: {})", versions(.asked))]
    NoCommonVersion {
        /// The network.
        network: String,
        /// The versions that came into question.
        asked: Vec<Version>,
    },
    /// The network's version has no such command.
    #[error("network {network:?}: CNI {version} has no {command}")]
    NoSuchCommand {
        /// The network.
        network: String,
        /// The version it is in use with.
        version: Version,
        /// The command.
        command: Command,
    },
    /// There is nothing to check: ADD did not come to its end.
    #[error("network {network:?} was never set up completely")]
    NotAttached {
        /// The network.
        network: String,
    },
    /// ADD failed, and DEL of what was done failed too.
    #[error("what was done is not undone ({undo})")]
    NotUndone {
        /// Why it is not undone.
        undo: String,
        /// Why ADD failed.
        #[source]
        cause: Box<CniError>,
    },
    /// Several things failed.
    #[error("{}", several(.0))]
    Several(Vec<CniError>),
    /// The flannel type could not be resolved.
    #[error("network {network:?}: flannel")]
    Flannel {
        /// The network.
        network: String,
        /// Why.
        #[source]
        cause: FlannelError,
    },
    /// What teardown needs could not be kept or found again.
    #[error("cannot {action} {}", path.display())]
    Cache {
        /// What was done: `write`, `read`, `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What was kept is not what was written.
    #[error("{} is damaged", path.display())]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        cause: serde_json::Error,
    },
}

impl CniError {
    pub(crate) fn config(path: &Path, cause: ConfigError) -> CniError {
        CniError::Config { path: path.to_owned(), cause }
    }

    pub(crate) fn plugin(
        network: &Network,
        plugin: &Plugin,
        command: Command,
        cause: PluginError,
    ) -> CniError {
        CniError::Plugin { network: network.name.clone(), plugin: plugin.kind.clone(), command, cause }
    }

    /// All of the errors as one, or none.
    pub(crate) fn collect(mut errors: Vec<CniError>) -> Result<(), CniError> {
        match errors.len() {
            0 | 1 => errors.pop().map_or(Ok(()), Err),
            _ => Err(CniError::Several(errors)),
        }
    }

    /// The message and those of its causes, in one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        text
    }
}

fn several(errors: &[CniError]) -> String {
    errors.iter().map(CniError::with_causes).collect::<Vec<_>>().join("; ")
}

fn directories(searched: &[PathBuf]) -> String {
    searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn versions(asked: &[Version]) -> String {
    asked.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(", ")
}

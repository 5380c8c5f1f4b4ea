//! How an image wants to be run.
//!
//! Responsible for: the `app` section of image and pod manifests. Must not know: how the command line overrides it.
//! Follows appc-spec `schema/types/app.go`.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize};

use crate::json::null_as_default;
use crate::{AcName, AppcError, Isolator, Port};

/// The `app` section of a manifest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Executable and arguments; may be empty when the command line brings one.
    #[serde(default, deserialize_with = "null_as_default")]
    pub exec: Vec<String>,
    /// At most one of each name.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub event_handlers: Vec<EventHandler>,
    /// Name, number, or absolute path of a file whose owner is meant.
    #[serde(default)]
    pub user: String,
    /// Name, number, or absolute path of a file whose group is meant.
    #[serde(default)]
    pub group: String,
    /// Further groups, by number.
    #[serde(
        rename = "supplementaryGIDs",
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub supplementary_gids: Vec<u32>,
    /// Absolute path; absent means `/`.
    #[serde(default, deserialize_with = "empty_as_none", skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Unique names, in order.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<EnvironmentVariable>,
    /// Places that want a volume.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Ports the app listens on.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Limits and rights.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub isolators: Vec<Isolator>,
    /// Free text of users.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// Free text of users.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
}

/// A command run before an app starts (`pre-start`) or after it ended (`post-stop`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHandler {
    /// `pre-start` or `post-stop`.
    pub name: String,
    /// Executable and arguments.
    #[serde(default, deserialize_with = "null_as_default")]
    pub exec: Vec<String>,
}

/// One variable of an app's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Matches `^[A-Za-z_][A-Za-z_0-9.-]*$`.
    pub name: String,
    /// Any text.
    pub value: String,
}

/// A place in an app's root that wants a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPoint {
    /// Its name in the image.
    pub name: AcName,
    /// Path in the app.
    pub path: String,
    /// Whether the app only reads there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Go's manifests cannot tell an empty text from an absent one.
fn empty_as_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// True if `name` may name an environment variable of a manifest.
fn is_environment_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl App {
    /// Value of the environment variable `name`.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }

    /// Sets an environment variable, replacing its earlier value in place.
    pub fn set_env(&mut self, name: &str, value: &str) {
        match self.environment.iter_mut().find(|variable| variable.name == name) {
            Some(variable) => value.clone_into(&mut variable.value),
            None => {
                self.environment.push(EnvironmentVariable { name: name.to_owned(), value: value.to_owned() });
            }
        }
    }

    /// The isolator `name`; the last one where there are several.
    pub fn isolator(&self, name: &str) -> Option<&Isolator> {
        self.isolators.iter().rev().find(|isolator| isolator.name.as_str() == name)
    }

    /// Checks what the fields' types cannot say.
    pub fn validate(&self) -> Result<(), AppcError> {
        if self.user.is_empty() {
            return Err(AppcError::MissingUser);
        }
        if self.group.is_empty() {
            return Err(AppcError::MissingGroup);
        }
        if let Some(directory) = &self.working_directory
            && !directory.starts_with('/')
        {
            return Err(AppcError::RelativeWorkingDirectory(directory.clone()));
        }
        let mut handlers = HashSet::new();
        for handler in &self.event_handlers {
            if !matches!(handler.name.as_str(), "pre-start" | "post-stop") {
                return Err(AppcError::UnknownEventHandler(handler.name.clone()));
            }
            if !handlers.insert(&handler.name) {
                return Err(AppcError::DuplicateEventHandler(handler.name.clone()));
            }
        }
        let mut variables = HashSet::new();
        for variable in &self.environment {
            if !is_environment_name(&variable.name) {
                return Err(AppcError::InvalidEnvironmentName(variable.name.clone()));
            }
            if !variables.insert(&variable.name) {
                return Err(AppcError::DuplicateEnvironment(variable.name.clone()));
            }
        }
        self.ports.iter().try_for_each(Port::validate)
    }
}

//! Isolators: named limits and rights of an app.

use serde::{Deserialize, Serialize};

use crate::{AcIdentifier, Quantity};

/// One isolator. Names nobody knows are kept and ignored, as the specification asks; so the value stays raw here
/// and whoever enforces an isolator reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Isolator {
    /// For example `resource/memory`.
    pub name: AcIdentifier,
    /// For example `{"default":false,"request":"256M","limit":"256M"}`.
    #[serde(default)]
    pub value: serde_json::Value,
}

impl Isolator {
    /// `limit` of a resource isolator; None if there is no such field or it is not a quantity.
    pub fn limit(&self) -> Option<Quantity> {
        self.value.get("limit")?.as_str()?.parse().ok()
    }

    /// `set` of a capability or seccomp isolator; empty if there is no such field.
    pub fn set(&self) -> Vec<&str> {
        let set = self.value.get("set").and_then(|set| set.as_array());
        set.map(|set| set.iter().filter_map(|entry| entry.as_str()).collect()).unwrap_or_default()
    }
}

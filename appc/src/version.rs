//! The version of the schema that a manifest says it follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AppcError;

/// `acVersion` of a manifest: a semantic version. In pod manifests rkt writes its own version there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AcVersion(semver::Version);

impl AcVersion {
    /// The App Container version this crate follows, 0.8.11.
    pub fn current() -> Self {
        Self(semver::Version::new(0, 8, 11))
    }
}

impl TryFrom<String> for AcVersion {
    type Error = AppcError;

    fn try_from(text: String) -> Result<Self, AppcError> {
        text.parse()
            .map(Self)
            .map_err(|e: semver::Error| AppcError::InvalidVersion { text, reason: e.to_string() })
    }
}

impl FromStr for AcVersion {
    type Err = AppcError;

    fn from_str(text: &str) -> Result<Self, AppcError> {
        text.to_owned().try_into()
    }
}

impl From<AcVersion> for String {
    fn from(version: AcVersion) -> String {
        version.0.to_string()
    }
}

impl fmt::Display for AcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

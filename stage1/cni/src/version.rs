//! The versions of the CNI specification that this client speaks.
//!
//! Responsible for: naming and ordering them, and what each brought. Must not know: which one a network uses (`chain`
//! decides). Follows the "Released versions" table of the specification.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A released version of the specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Version {
    /// `0.1.0`: one address of each family. What a configuration that names none means.
    #[default]
    V0_1_0,
    /// `0.2.0`: the VERSION command.
    V0_2_0,
    /// `0.3.0`: interfaces, any number of addresses, chained plugins.
    V0_3_0,
    /// `0.3.1`: as 0.3.0.
    V0_3_1,
    /// `0.4.0`: the CHECK command, and prevResult on DEL.
    V0_4_0,
    /// `1.0.0`: addresses no longer say their family.
    V1_0_0,
    /// `1.1.0`: the GC and STATUS commands.
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Whether a plugin is given the result of the one before it.
    pub fn has_chains(self) -> bool {
        self >= Version::V0_3_0
    }

    /// Whether there is CHECK, and a prevResult on DEL.
    pub fn has_check(self) -> bool {
        self >= Version::V0_4_0
    }

    /// Whether there are GC and STATUS.
    pub fn has_gc_and_status(self) -> bool {
        self >= Version::V1_1_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A version that this client does not speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CNI version {0:?} is not supported (0.1.0 to 1.1.0 are)")]
pub struct UnknownVersion(pub String);

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Version, UnknownVersion> {
        // An empty one is what libcni's oldest users wrote.
        if text.is_empty() {
            return Ok(Version::default());
        }
        Version::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

impl TryFrom<String> for Version {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Version, UnknownVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.as_str().to_owned()
    }
}

//! Image names with labels, as users type them: `NAME[:VERSION][,LABEL=VALUE…]`.

use std::fmt;
use std::str::FromStr;

use appc::{AcIdentifier, AppcError, HOST_ARCH, HOST_OS, Labels};

use super::ImageError;

/// A name and the labels that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppcName {
    /// For example `example.com/redis`.
    pub name: AcIdentifier,
    /// With `version` where one was given.
    pub labels: Labels,
}

impl AppcName {
    /// The labels asked for, and the host's `os` and `arch` where nothing else was asked for.
    pub fn labels_on_host(&self) -> Result<Labels, AppcError> {
        let mut labels = self.labels.clone();
        for (name, value) in [("os", HOST_OS), ("arch", HOST_ARCH)] {
            if labels.get(name).is_none() {
                labels.set(name.parse()?, value)?;
            }
        }
        Ok(labels)
    }
}

impl FromStr for AppcName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let invalid = |reason: String| ImageError::InvalidReference { reference: text.to_owned(), reason };
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let (name, version) = match name.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (name, None),
        };
        let mut labels = Labels::default();
        let versions = version.map(|version| ("version", version)).into_iter().map(Ok);
        let others = parts.map(|label| {
            label.split_once('=').ok_or_else(|| invalid(format!("label {label:?} has no value")))
        });
        for label in versions.chain(others) {
            let (name, value) = label?;
            if labels.get(name).is_some() {
                return Err(invalid(format!("label {name:?} is given twice")));
            }
            let set = name.parse().and_then(|name| labels.set(name, value));
            set.map_err(|e: AppcError| invalid(e.to_string()))?;
        }
        let name = name.parse().map_err(|e: AppcError| invalid(e.to_string()))?;
        Ok(Self { name, labels })
    }
}

impl fmt::Display for AppcName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(version) = self.labels.get("version") {
            write!(f, ":{version}")?;
        }
        for label in self.labels.iter().filter(|label| label.name.as_str() != "version") {
            write!(f, ",{}={}", label.name, label.value)?;
        }
        Ok(())
    }
}

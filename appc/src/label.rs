//! Labels: what tells images of one name apart.

use serde::{Deserialize, Serialize};

use crate::{AcIdentifier, AppcError};

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name, for example `os`.
    pub name: AcIdentifier,
    /// Its value, any text.
    pub value: String,
}

/// Labels with unique names, none of them `name`. Written sorted by name, as rkt does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Option<Vec<Label>>", into = "Vec<Label>")]
pub struct Labels(Vec<Label>);

impl Labels {
    /// Value of the label `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|label| label.name.as_str() == name).map(|label| label.value.as_str())
    }

    /// Sets a label, replacing its earlier value. Errors: [`AppcError::ReservedLabel`] for the name `name`.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) -> Result<(), AppcError> {
        let mut labels = std::mem::take(&mut self.0);
        labels.retain(|label| label.name != name);
        labels.push(Label { name, value: value.into() });
        *self = Self::try_from(labels)?;
        Ok(())
    }

    /// True if every label of `wanted` is here with the same value.
    pub fn satisfy(&self, wanted: &Labels) -> bool {
        wanted.iter().all(|label| self.get(label.name.as_str()) == Some(label.value.as_str()))
    }

    /// The labels in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Label>> for Labels {
    type Error = AppcError;

    fn try_from(mut labels: Vec<Label>) -> Result<Self, AppcError> {
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        if labels.iter().any(|label| label.name.as_str() == "name") {
            return Err(AppcError::ReservedLabel);
        }
        let twice = labels.iter().zip(labels.iter().skip(1)).find(|(a, b)| a.name == b.name);
        match twice {
            Some((label, _)) => Err(AppcError::DuplicateLabel(label.name.to_string())),
            None => Ok(Self(labels)),
        }
    }
}

impl TryFrom<Option<Vec<Label>>> for Labels {
    type Error = AppcError;

    fn try_from(labels: Option<Vec<Label>>) -> Result<Self, AppcError> {
        labels.unwrap_or_default().try_into()
    }
}

impl From<Labels> for Vec<Label> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

//! Annotations: notes for tools, without meaning to the schema.

use serde::{Deserialize, Serialize};

use crate::{AcIdentifier, AppcError};

/// One annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// Its name, for example `coreos.com/rkt/stage1/run`.
    pub name: AcIdentifier,
    /// Its value, any text.
    pub value: String,
}

/// Annotations with unique names, in the manifest's order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Option<Vec<Annotation>>", into = "Vec<Annotation>")]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Value of the annotation `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|annotation| annotation.name.as_str() == name).map(|a| a.value.as_str())
    }

    /// Sets an annotation, replacing its earlier value.
    pub fn set(&mut self, name: AcIdentifier, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|annotation| annotation.name == name) {
            Some(annotation) => annotation.value = value,
            None => self.0.push(Annotation { name, value }),
        }
    }

    /// The annotations in the manifest's order.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.0.iter()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Annotation] {
        &self.0
    }
}

impl TryFrom<Option<Vec<Annotation>>> for Annotations {
    type Error = AppcError;

    fn try_from(annotations: Option<Vec<Annotation>>) -> Result<Self, AppcError> {
        let annotations = annotations.unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        match annotations.iter().find(|annotation| !seen.insert(&annotation.name)) {
            Some(twice) => Err(AppcError::DuplicateAnnotation(twice.name.to_string())),
            None => Ok(Self(annotations)),
        }
    }
}

impl From<Annotations> for Vec<Annotation> {
    fn from(annotations: Annotations) -> Self {
        annotations.0
    }
}

//! Names of layers.
//!
//! Responsible for: the text form of a layer's hash, and lists of it. Must not know: whether a layer is stored. Follows
//! the OCI image specification, `config.md` ("Layer DiffID").

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::StoreError;
use crate::hex;

const PREFIX: &str = "sha256:";
/// Digits of a SHA-256.
const DIGITS: usize = 64;
/// Most layers of one image. Docker stops at 127.
const MAX_LAYERS: usize = 256;

/// A layer: the SHA-256 over its uncompressed tar, as `sha256:` and 64 lower-case digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiffId(String);

impl DiffId {
    /// The name of what was hashed.
    pub(super) fn of(hash: Sha256) -> Self {
        Self(format!("{PREFIX}{}", hex::lower(&hash.finalize())))
    }

    /// With the prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    fn digits(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }

    /// The first two digits, which name the directory the layer is in.
    pub(super) fn fan_out(&self) -> &str {
        self.digits().get(..2).unwrap_or_default()
    }

    /// The layer's file name.
    pub(super) fn file_name(&self) -> String {
        format!("sha256-{}", self.digits())
    }

    /// The layer that has this file name.
    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        format!("{PREFIX}{}", name.strip_prefix("sha256-")?).parse().ok()
    }

    /// The value of [`LAYERS_ANNOTATION`](super::LAYERS_ANNOTATION).
    pub(super) fn list(layers: &[Self]) -> String {
        layers.iter().map(Self::as_str).collect::<Vec<_>>().join(",")
    }

    /// The inverse of [`Self::list`].
    pub(super) fn parse_list(text: &str) -> Result<Vec<Self>, StoreError> {
        let layers = text.split(',').filter(|name| !name.is_empty()).take(MAX_LAYERS + 1);
        let layers = layers.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        Self::check_count(&layers)?;
        Ok(layers)
    }

    /// Refuses a list that is longer than any image's.
    pub(super) fn check_count(layers: &[Self]) -> Result<(), StoreError> {
        if layers.len() > MAX_LAYERS {
            return Err(StoreError::TooManyLayers { limit: MAX_LAYERS });
        }
        Ok(())
    }
}

impl FromStr for DiffId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix(PREFIX) {
            Some(digits) if digits.len() == DIGITS && digits.bytes().all(is_digit) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(StoreError::DiffId(text.chars().take(PREFIX.len() + DIGITS + 1).collect())),
        }
    }
}

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

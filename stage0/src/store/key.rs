//! Keys of images and IDs of rendered trees.
//!
//! Responsible for: the text forms that name files of the stores and that rkt prints. Must not know: whether anything
//! has that name. Follows rkt-reference.md 3.2 and 2.9.

use std::fmt;
use std::str::FromStr;

use appc::ImageId;
use sha2::{Digest, Sha512};

use super::StoreError;
use crate::hex;

const KEY_PREFIX: &str = "sha512-";
const TREE_PREFIX: &str = "deps-";
/// Half of a SHA-512's 128 digits.
const KEY_DIGITS: usize = 64;
/// Characters `rkt fetch` prints.
const SHORT_CHARS: usize = 39;

/// An image in the store: `sha512-` and the first 64 digits of the SHA-512 over its uncompressed tar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key of what was hashed.
    pub(super) fn of(hash: Sha512) -> Self {
        let hash = hash.finalize();
        Self(format!("{KEY_PREFIX}{}", hex::lower(hash.get(..KEY_DIGITS / 2).unwrap_or_default())))
    }

    /// All 71 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 39 characters that `rkt fetch` prints.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT_CHARS).unwrap_or(&self.0)
    }

    /// The first two digits, which name the directory the image is in.
    pub(super) fn fan_out(&self) -> &str {
        self.0.get(KEY_PREFIX.len()..KEY_PREFIX.len() + 2).unwrap_or_default()
    }

    /// The ID that manifests carry.
    pub fn image_id(&self) -> Result<ImageId, appc::AppcError> {
        self.0.parse()
    }
}

impl FromStr for Key {
    type Err = StoreError;

    /// Takes exactly 64 digits, or more, of which the first 64 count.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let digits = text.strip_prefix(KEY_PREFIX).ok_or(StoreError::KeyPrefix)?;
        let digits = digits.get(..KEY_DIGITS).ok_or(StoreError::KeyTooShort)?;
        if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(format!("{KEY_PREFIX}{}", digits.to_ascii_lowercase())))
        } else {
            Err(StoreError::KeyPrefix)
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rendered tree: `deps-` and the key form of the SHA-512 over the keys it was made of, joined by commas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(String);

impl TreeId {
    /// The tree made of these images, the top one first.
    pub(super) fn of<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Self {
        let keys: Vec<&str> = keys.into_iter().map(Key::as_str).collect();
        let mut hash = Sha512::new();
        hash.update(keys.join(",").as_bytes());
        Self(format!("{TREE_PREFIX}{}", Key::of(hash)))
    }

    /// The text, a single file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TreeId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::TreeId(text.to_owned());
        let key: Key = text.strip_prefix(TREE_PREFIX).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        if text.len() == TREE_PREFIX.len() + key.as_str().len() {
            Ok(Self(format!("{TREE_PREFIX}{key}")))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

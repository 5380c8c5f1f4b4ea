//! Image IDs: `sha512-` and hexadecimal digits.
//!
//! Responsible for: the text form of an image's hash. Must not know: how the hash is computed or where images are.
//! Follows appc-spec `spec/types.md` (Image ID Type) and rkt's 64 digit store keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AppcError;

const PREFIX: &str = "sha512-";
/// A SHA-512 has 64 bytes.
const MAX_DIGITS: usize = 128;

/// SHA-512 over an image's uncompressed tar, whole (128 digits) or the first digits of it (rkt writes 64).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The ID as text, `sha512-…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits behind `sha512-`.
    pub fn digits(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }
}

impl TryFrom<String> for ImageId {
    type Error = AppcError;

    fn try_from(text: String) -> Result<Self, AppcError> {
        match text.strip_prefix(PREFIX) {
            Some(digits)
                if (1..=MAX_DIGITS).contains(&digits.len())
                    && digits.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(AppcError::InvalidImageId(text)),
        }
    }
}

impl FromStr for ImageId {
    type Err = AppcError;

    fn from_str(text: &str) -> Result<Self, AppcError> {
        text.to_owned().try_into()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> String {
        id.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

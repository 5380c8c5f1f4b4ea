//! AC identifiers and AC names.
//!
//! Responsible for: the two name grammars of the schema and making a name out of anything. Must not know: what is
//! named. Follows appc-spec `spec/types.md`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AppcError;

/// Longest [`AcName`]. It becomes a file name with a suffix (`APP-created`), and a file name has at most 255 bytes.
pub const MAX_NAME_BYTES: usize = 240;

/// Longest [`AcIdentifier`]. It becomes a path below the trusted keys and part of a URL; both take four times that.
pub const MAX_IDENTIFIER_BYTES: usize = 1024;

/// Name of an image, a label, an annotation or an isolator: `^[a-z0-9]+([-._~/][a-z0-9]+)*$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AcIdentifier(String);

/// Name of an app, a volume, a port or a mount point: `^[a-z0-9]+([-][a-z0-9]+)*$`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AcName(String);

fn is_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_identifier_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/')
}

/// Words joined by single separators.
fn matches_grammar(text: &str, is_separator: impl Fn(u8) -> bool) -> bool {
    let mut after_word = false;
    for byte in text.bytes() {
        match (is_word(byte), is_separator(byte)) {
            (true, _) => after_word = true,
            (false, true) if after_word => after_word = false,
            _ => return false,
        }
    }
    after_word
}

/// Lower-cases, replaces what is neither word nor separator, and trims separators from both ends. A run of
/// separators shrinks to its first one: the grammar allows no two in a row.
fn sanitise(text: &str, is_separator: impl Fn(u8) -> bool, replacement: char) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut after_word = false;
    for c in text.to_lowercase().chars() {
        let byte = u8::try_from(c).unwrap_or(b'!');
        if is_word(byte) {
            clean.push(c);
            after_word = true;
        } else if after_word {
            clean.push(if is_separator(byte) { c } else { replacement });
            after_word = false;
        }
    }
    if !after_word {
        clean.pop();
    }
    clean
}

impl AcIdentifier {
    /// The identifier nearest to `text`. Errors: [`AppcError::NothingToSanitise`] if no character of it can stay.
    pub fn sanitised(text: &str) -> Result<Self, AppcError> {
        let clean = sanitise(text, is_identifier_separator, '_');
        if clean.is_empty() {
            return Err(AppcError::NothingToSanitise(text.to_owned()));
        }
        clean.try_into()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name an app of this image gets when nobody names it: the last component, sanitised.
    pub fn default_app_name(&self) -> Result<AcName, AppcError> {
        AcName::sanitised(self.0.rsplit('/').next().unwrap_or_default())
    }
}

impl AcName {
    /// The name nearest to `text`. Errors: [`AppcError::NothingToSanitise`] if no character of it can stay.
    pub fn sanitised(text: &str) -> Result<Self, AppcError> {
        let clean = sanitise(text, |byte| byte == b'-', '-');
        if clean.is_empty() {
            return Err(AppcError::NothingToSanitise(text.to_owned()));
        }
        clean.try_into()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), AppcError> {
    if text.len() > limit { Err(AppcError::NameTooLong { found: text.len(), limit }) } else { Ok(()) }
}

impl TryFrom<String> for AcIdentifier {
    type Error = AppcError;

    fn try_from(text: String) -> Result<Self, AppcError> {
        check_length(&text, MAX_IDENTIFIER_BYTES)?;
        if matches_grammar(&text, is_identifier_separator) {
            Ok(Self(text))
        } else {
            Err(AppcError::InvalidIdentifier(text))
        }
    }
}

impl TryFrom<String> for AcName {
    type Error = AppcError;

    fn try_from(text: String) -> Result<Self, AppcError> {
        check_length(&text, MAX_NAME_BYTES)?;
        if matches_grammar(&text, |byte| byte == b'-') {
            Ok(Self(text))
        } else {
            Err(AppcError::InvalidName(text))
        }
    }
}

macro_rules! text_newtype {
    ($type:ty) => {
        impl FromStr for $type {
            type Err = AppcError;

            fn from_str(text: &str) -> Result<Self, AppcError> {
                text.to_owned().try_into()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_newtype!(AcIdentifier);
text_newtype!(AcName);

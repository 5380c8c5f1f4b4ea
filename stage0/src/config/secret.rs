//! Text that opens doors.
//!
//! Responsible for: keeping credentials out of debug output. Must not know: what they open. Follows rkt-reference.md 2.8.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password, token or key. `rkt config` shows it; nothing else does.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be sent to whom it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

//! `--pull-policy`: when an image that is in the store is fetched again.

use std::str::FromStr;

/// When to fetch (rkt-reference.md 3.3). Local files are read under every policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Only what is not in the store; the default of `run` and `prepare`.
    New,
    /// Again, unless the server says that nothing changed; the default of `fetch`.
    Update,
    /// Never: the store or nothing.
    Never,
}

impl PullPolicy {
    /// What can be typed.
    pub const WORDS: [&str; 3] = ["new", "update", "never"];
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "new" => Ok(Self::New),
            "update" => Ok(Self::Update),
            "never" => Ok(Self::Never),
            _ => Err(format!("invalid pull policy {text:?} (must be one of: new, update, never)")),
        }
    }
}

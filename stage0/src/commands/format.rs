//! `--format`.
//!
//! Responsible for: its values. Must not know: what is printed. Follows rkt-reference.md 1.6.

use std::str::FromStr;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json {
        /// Indented with tabs.
        pretty: bool,
    },
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Format::Text),
            "json" => Ok(Format::Json { pretty: false }),
            "json-pretty" => Ok(Format::Json { pretty: true }),
            _ => Err(format!("invalid flag value: {text:?} must be one of \"json\", \"json-pretty\"")),
        }
    }
}

//! How lists are printed: `--format`, `--full`, `--no-legend`.
//!
//! Responsible for: these flags and their values. Must not know: what is printed. Follows rkt-reference.md 1.6.

use std::str::FromStr;

use crate::cli::flag::{FlagKind, words};

/// The flags that lists have in common.
#[derive(Debug, Clone, clap::Args)]
pub struct ListFlags {
    /// suppress a legend with the list
    #[arg(long, switch = false)]
    pub no_legend: bool,

    /// use long output format
    #[arg(long, switch = false)]
    pub full: bool,

    /// choose the output format, allowed format includes 'json', 'json-pretty'. If empty, then the result is printed as key value pairs
    #[arg(long, value_name = "string", default_value = "", value_parser = words(Format::WORDS, Format::from_str))]
    pub format: Format,
}

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

impl Format {
    /// What can be typed.
    pub const WORDS: [&str; 2] = ["json", "json-pretty"];
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

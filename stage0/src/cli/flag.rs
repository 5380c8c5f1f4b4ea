//! Kinds of flags that many commands have.
//!
//! Responsible for: what can be typed for a flag of each kind. Must not know: any flag. Follows rkt-reference.md 1.3 and
//! Go's pflag.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, ArgAction, Command};

use super::values::parse_bool;

/// Kinds of flags, to be named in a definition: `#[arg(long, switch = false)]`.
pub trait FlagKind {
    /// A boolean: `--name` or `--name=VALUE`; the word that follows is never its value.
    fn switch(self, default: bool) -> Self;
}

impl FlagKind for Arg {
    fn switch(self, default: bool) -> Self {
        self.value_parser(parse_bool)
            .num_args(0..=1)
            .require_equals(true)
            .default_value(if default { "true" } else { "false" })
            .default_missing_value("true")
            .action(ArgAction::Set)
    }
}

/// The parser of a flag whose value is one of `words`, or a list of them. `parse` has the last word, and the message.
pub fn words<T>(
    words: impl IntoIterator<Item = &'static str>,
    parse: fn(&str) -> Result<T, String>,
) -> Words<T> {
    Words { words: words.into_iter().collect(), parse }
}

/// See [`words`].
#[derive(Debug, Clone)]
pub struct Words<T> {
    words: Vec<&'static str>,
    parse: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parse = self.parse;
        TypedValueParser::parse_ref(&move |text: &str| parse(text), command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

//! Why an archive was refused or could not be written.
//!
//! A cause of the kernel's stands in the message instead of behind it: rkt prints an error's outermost and innermost text
//! only (rkt-reference.md 1.1), and "No space left on device" alone names no file.

use std::borrow::Cow;
use std::io;

use serde::{Deserialize, Serialize};

/// Longest part of an entry's name that a message shows.
const SHOWN_NAME_CHARS: usize = 80;

/// Why an archive was refused or could not be written. Messages name the entry.
///
/// It crosses the boundary of the jailed process as text, so what it holds can be serialised.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ExtractError {
    /// The source of the archive failed: a full disk, a broken download, a bad checksum of the compression.
    #[error("cannot read the archive: {0}")]
    Read(#[serde(with = "cause_on_the_wire")] io::Error),
    /// The archive ends inside an entry.
    #[error("archive is truncated: {0}")]
    Truncated(Cow<'static, str>),
    /// The bytes are not a tar archive, or one that contradicts itself.
    #[error("archive is malformed: {0}")]
    Malformed(String),
    /// More than a limit allows.
    #[error("archive has too much of something: {what} (at most {limit})")]
    Limit {
        /// What there is too much of.
        what: Cow<'static, str>,
        /// The most there may be.
        limit: u64,
    },
    /// An entry that no image may have.
    #[error("archive entry {name:?} is refused: {reason}")]
    Refused {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry could not be written.
    #[error("cannot {operation} {name:?}: {cause}")]
    Write {
        /// A verb.
        operation: Cow<'static, str>,
        /// The entry's name.
        name: String,
        /// What the kernel said.
        #[serde(with = "cause_on_the_wire")]
        cause: io::Error,
    },
    /// The process that extracts archives could not be started or confined, or ended without an answer.
    #[error("cannot extract the archive: {0}")]
    Process(String),
}

impl ExtractError {
    pub(super) fn refused(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused { name: shown(name), reason: reason.into() }
    }

    pub(super) fn write(operation: &'static str, name: &[u8], cause: impl Into<io::Error>) -> Self {
        Self::Write { operation: operation.into(), name: shown(name), cause: cause.into() }
    }

    pub fn truncated(reason: &'static str) -> Self {
        Self::Truncated(reason.into())
    }

    pub(super) fn limit(what: &'static str, limit: u64) -> Self {
        Self::Limit { what: what.into(), limit }
    }

    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(printable(&reason.into()))
    }
}

/// Text that may quote an archive, without what a terminal would obey.
fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// A name for a message: readable, and short even if the name is not.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() <= SHOWN_NAME_CHARS {
        return text.into_owned();
    }
    text.chars().take(SHOWN_NAME_CHARS).chain("…".chars()).collect()
}

/// An error of the kernel's as its number, so that its kind survives; any other as text.
mod cause_on_the_wire {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Cause {
        Number(i32),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
        match error.raw_os_error() {
            Some(number) => Cause::Number(number),
            None => Cause::Text(error.to_string()),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
        Ok(match Cause::deserialize(deserializer)? {
            Cause::Number(number) => io::Error::from_raw_os_error(number),
            Cause::Text(text) => io::Error::other(text),
        })
    }
}

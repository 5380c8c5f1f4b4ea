//! Why an archive was refused or could not be written.
//!
//! A cause of the kernel's stands in the message instead of behind it: rkt prints an error's outermost and innermost text
//! only (rkt-reference.md 1.1), and "No space left on device" alone names no file.

use std::io;

/// Longest part of an entry's name that a message shows.
const SHOWN_NAME_CHARS: usize = 80;

/// Why an archive was refused or could not be written. Messages name the entry.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The source of the archive failed: a full disk, a broken download, a bad checksum of the compression.
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
    /// The archive ends inside an entry.
    #[error("archive is truncated: {0}")]
    Truncated(&'static str),
    /// The bytes are not a tar archive, or one that contradicts itself.
    #[error("archive is malformed: {0}")]
    Malformed(String),
    /// More than a limit allows.
    #[error("archive has too much of something: {what} (at most {limit})")]
    Limit {
        /// What there is too much of.
        what: &'static str,
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
        operation: &'static str,
        /// The entry's name.
        name: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl ExtractError {
    pub(super) fn refused(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Refused { name: shown(name), reason: reason.into() }
    }

    pub(super) fn write(operation: &'static str, name: &[u8], cause: impl Into<io::Error>) -> Self {
        Self::Write { operation, name: shown(name), cause: cause.into() }
    }

    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }
}

/// A name for a message: readable, and short even if the name is not.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() <= SHOWN_NAME_CHARS {
        return text.into_owned();
    }
    text.chars().take(SHOWN_NAME_CHARS).chain("…".chars()).collect()
}

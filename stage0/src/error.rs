//! What can go wrong on the pod side of stage0.
//!
//! Responsible for: messages for a person at a terminal, each with its cause as source. Must not know: exit codes,
//! prefixes. Follows rkt-reference.md 1.1 ("Error chains") and the texts of 9.4.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate's pod side.
pub type Result<T> = std::result::Result<T, Stage0Error>;

/// A boxed cause from another part of stage0.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Stage0Error {
    /// The user asked for something that makes no sense or cannot be had; the text says it all.
    #[error("{0}")]
    Refused(String),

    /// An operation that has a more specific cause.
    #[error("{what}")]
    Failed {
        /// What was being done, for a person.
        what: String,
        /// Why it could not be.
        #[source]
        cause: Cause,
    },

    /// A file or directory could not be used. The text carries its cause: the innermost error is what is printed,
    /// and an errno without its path helps nobody.
    #[error("cannot {action} {path:?}: {cause}")]
    File {
        /// A verb: `open`, `write` …
        action: &'static str,
        /// The path as the user would name it.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },

    /// An overlay file system could not be mounted.
    #[error("error mounting overlay with options '{options}' and dest '{target}': {cause}", target = target.display())]
    Overlay {
        /// Mount options as given to the kernel.
        options: String,
        /// Mount point.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl Stage0Error {
    /// A refusal in words.
    pub fn refused(text: impl Into<String>) -> Self {
        Stage0Error::Refused(text.into())
    }
}

/// Says what was being done when an error happened.
pub trait Context<T> {
    /// Wraps the error under `what`.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|cause| Stage0Error::Failed { what: what.into(), cause: cause.into() })
    }
}

/// Says which file an operating system error is about.
pub trait FileContext<T> {
    /// Wraps the error with the action and the path.
    fn file(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> FileContext<T> for std::result::Result<T, E> {
    fn file(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|cause| Stage0Error::File { action, path: path.to_owned(), cause: cause.into() })
    }
}

//! Standard input, output and error of an app: where each comes from or goes.
//!
//! Responsible for: the words on the command line and in pod manifests. Must not know: how stage1 connects anything. Follows
//! rkt-reference.md 1.4 and 7.5.

use clap::ValueEnum;

/// Where standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputMode {
    /// Nowhere: it has ended.
    Null,
    /// Whoever attaches.
    Stream,
    /// A terminal to attach to.
    Tty,
}

/// Where standard output or error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputMode {
    /// The pod's log.
    Log,
    /// Nowhere.
    Null,
    /// Whoever attaches, and the pod's log.
    Stream,
    /// A terminal to attach to.
    Tty,
}

impl InputMode {
    /// The word in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            InputMode::Null => "null",
            InputMode::Stream => "stream",
            InputMode::Tty => "tty",
        }
    }
}

impl OutputMode {
    /// The word in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            OutputMode::Log => "log",
            OutputMode::Null => "null",
            OutputMode::Stream => "stream",
            OutputMode::Tty => "tty",
        }
    }
}

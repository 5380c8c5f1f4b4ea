//! What can go wrong in the guest.
//!
//! Responsible for: sentences that a person at the terminal of `rkt run` can act on; they travel to the host as text.
//! Must not know: how they travel.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;

use guest_api::FrameError;

/// Errors of guest-init.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A kernel request of guest-init's own failed.
    #[error("cannot {doing}")]
    Kernel {
        /// What was attempted, as an infinitive.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The host asked for something that cannot be.
    #[error("invalid pod specification: {0}")]
    Specification(String),
    /// The control connection broke.
    #[error("control connection failed")]
    Connection(#[source] io::Error),
    /// The host closed the control connection.
    #[error("the host closed the control connection")]
    ConnectionClosed,
    /// The host sent something that is no message, or one that does not belong here.
    #[error("the host broke the control protocol")]
    Protocol(#[source] FrameError),
    /// The host sent a message before or after its time.
    #[error("the host sent {0} at the wrong time")]
    UnexpectedMessage(&'static str),
    /// The host sent more input than it was granted.
    #[error("the host sent more input than it had credit for")]
    InputBeyondCredit,
    /// The host gave a command the number of another one.
    #[error("the host lost count of its sessions")]
    SessionNumber(#[source] crate::session::Refusal),
    /// The host gave an app the number of another one, or wants another one in a pod that has the apps that it has.
    #[error("the host lost count of its apps")]
    AppNumber(#[source] crate::pod::Refusal),
    /// The host gave up an app that still runs.
    #[error("the host gave up app number {0}, which has not ended")]
    AppNotOver(u16),
    /// The host broke the rules of a tunnel.
    #[error("the host lost count of its tunnels")]
    Tunnel(#[source] tunnels::TunnelError),
    /// A command for an app that the pod does not have.
    #[error("the pod has no app number {0}")]
    UnknownApp(u16),
    /// A command for an app that has not come to run, or could not.
    #[error("app {0:?} has not been started")]
    AppNotStarted(String),
    /// The app's user cannot be turned into a number (rkt-reference 6.4).
    #[error("failed to configure user {user:?}: {why}")]
    User {
        /// The user as the host named it.
        user: String,
        /// What was looked at, and what it held.
        why: String,
    },
    /// The app's group cannot be turned into a number.
    #[error("failed to configure group {group:?}: {why}")]
    Group {
        /// The group as the host named it.
        group: String,
        /// What was looked at, and what it held.
        why: String,
    },
    /// There is not even a program.
    #[error("there is nothing to execute: the command is empty")]
    EmptyExec,
    /// The app's program is in none of the places it may be in (rkt-reference 6.2).
    #[error("error looking up {program:?}: unable to find {program:?} in {searched:?}")]
    ProgramNotFound {
        /// First word of the app's exec.
        program: String,
        /// The directories that were searched, separated by colons.
        searched: String,
    },
    /// The program is there but does not run.
    #[error("cannot execute {path:?}: {why}")]
    Exec {
        /// Path inside the app's root.
        path: String,
        /// The reason, as far as it can be seen from the file.
        why: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot change to the working directory {path:?}")]
    WorkingDirectory {
        /// Path inside the app's root.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl InitError {
    /// For `map_err`: names the attempt beside what the kernel said.
    pub fn kernel<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Kernel { doing: doing.into(), source: source.into() }
    }
}

/// The error and its causes as one sentence, from the outside in.
pub fn sentence(error: &InitError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

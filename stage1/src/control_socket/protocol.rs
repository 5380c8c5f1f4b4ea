//! What is said over the control socket, in guest-api's framing.
//!
//! Responsible for: the vocabulary. Must not know: who answers. Follows docs/architecture.md, "The control socket".
//!
//! ```text
//! client                    supervisor
//!   Stop               ->
//!                      <-   Stopping               the pod's end is the end of the connection
//!
//!   Exec               ->
//!                      <-   Failed                 instead of all that follows
//!                      <-   Started
//!                      <-   Output                 within the credit that the client grants
//!   Credit             ->
//!   Input, InputClosed ->                          within the credit that the supervisor grants
//!                      <-   InputCredit
//!   Resize, Signal     ->
//!                      <-   Exited or PodEnded     the last word; the supervisor closes
//! ```
//!
//!   ResizeApp          ->
//!
//! The apps of a mutable pod, by name:
//!
//! ```text
//!   AddApp, StartApp   ->
//!   StopApp, RemoveApp ->
//!                      <-   Warning                                any number
//!                      <-   Done, NotRunning, Failed or PodEnded   the last word; the supervisor closes
//! ```
//!
//! What the pod counts:
//!
//! ```text
//!   Metrics            ->
//!                      <-   Metrics                the last word; the supervisor closes
//! ```
//!
//! Credit starts as guest-api says and is passed on from one end to the other, so what a client does not read stays in the
//! app's pipe. A client that closes its connection leaves its command to be hung up.

use guest_api::{AppExit, StdioStream, WindowSize};
use serde::{Deserialize, Serialize};

/// A command that is to run in an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Name of the app.
    pub app: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Size of the terminal that it gets; without one it gets pipes.
    pub terminal: Option<WindowSize>,
    /// `TERM` of the command.
    pub terminal_type: String,
}

/// From a client to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// End the pod: its apps are asked to, or killed with `force`.
    Stop {
        /// Do not ask.
        force: bool,
    },
    /// Run a command. One a connection.
    Exec(ExecRequest),
    /// Bytes for the command's standard input, at most `MAX_INPUT_BYTES`.
    Input(#[serde(with = "guest_api::bytes")] Vec<u8>),
    /// There is no more input.
    InputClosed,
    /// The terminal has another size.
    Resize(WindowSize),
    /// Send the command a signal.
    Signal(u8),
    /// The client has written this many bytes to their destination.
    Credit {
        /// The stream they came from.
        stream: StdioStream,
        /// How many.
        bytes: u32,
    },
    /// The terminal of an app gets another size. Any number a connection; there is no answer.
    ResizeApp {
        /// Name of the app.
        app: String,
        /// The size.
        size: WindowSize,
    },
    /// The app is in the pod manifest and its files are there: let it be part of the pod.
    AddApp(String),
    /// Run the app. Answered when its program was executed.
    StartApp(String),
    /// End the app. Answered when it has ended.
    StopApp(String),
    /// Let go of the app, which does not run, and of all its files.
    RemoveApp(String),
    /// Say what the pod counts.
    Metrics,
}

/// From the supervisor to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The pod's end has been asked for.
    Stopping,
    /// The command runs; from now on the client may send what belongs to it.
    Started,
    /// Bytes that the command wrote.
    Output {
        /// To which stream.
        stream: StdioStream,
        /// The bytes.
        #[serde(with = "guest_api::bytes")]
        data: Vec<u8>,
    },
    /// The client may send so many more bytes of input.
    InputCredit(u32),
    /// The command has ended; all that it wrote was sent before.
    Exited(AppExit),
    /// The command does not run, and why.
    Failed(String),
    /// The pod has ended, and the command with it.
    PodEnded,
    /// What was asked of an app is done.
    Done,
    /// The app does not run.
    NotRunning,
    /// What is asked will be done, but the one who asks should know this.
    Warning(String),
    /// What the pod counts, in Prometheus' text format.
    Metrics(String),
}

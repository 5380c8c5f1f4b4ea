//! The messages themselves. New variants and fields go last: a position is its wire encoding (postcard).
//!
//! Responsible for: the vocabulary. Must not know: who sends over what.

use serde::{Deserialize, Serialize};

use crate::{AppSpec, Handler, PodSpec, SessionSpec, TunnelMessage};

/// Number the host gives an app in its [`AppSpec`]; it names the app in every later message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId(pub u16);

/// Number the host gives a command that it runs in an app ([`SessionSpec`]). Never given twice in the life of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u32);

/// Whose standard descriptors a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Process {
    /// The app itself.
    App(AppId),
    /// A command in an app.
    Session(SessionId),
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StdioStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// First words of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] that guest-init was built with.
    pub protocol: u16,
    /// `uname -r` of the guest.
    pub kernel_release: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppExit {
    /// It returned this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl AppExit {
    /// The number rkt records in `/rkt/status/APP`: the code, or the bare signal number (rkt-reference 6.8).
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal,
        }
    }
}

/// How an event handler failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandlerEnd {
    /// It ended like this.
    Ended(AppExit),
    /// It could not be run; a sentence for the person at the terminal.
    NotRun(String),
    /// It was killed when the grace period was over.
    TimedOut,
}

/// From stage1 to guest-init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// Become this pod and start its apps.
    Configure(PodSpec),
    /// The host has written this many more bytes of the stream to their destination; the guest may send as many more.
    Credit {
        /// The app or the command.
        process: Process,
        /// Its stream.
        stream: StdioStream,
        /// Bytes, added to what is left.
        bytes: u32,
    },
    /// Stop every app in order (SIGTERM, after the grace period SIGKILL), then halt. Idempotent.
    Stop,
    /// Run a command in an app. Answered by [`ToHost::SessionStarted`] or [`ToHost::SessionFailed`].
    Exec(SessionSpec),
    /// Bytes for a process's standard input, at most [`crate::MAX_INPUT_BYTES`], within the process's input credit. More
    /// than that ends the conversation. What nobody will read any more is dropped.
    Input {
        /// The app or the command.
        process: Process,
        /// The bytes, unchanged.
        #[serde(with = "crate::bytes")]
        data: Vec<u8>,
    },
    /// Nothing more will come: the pipe is closed once it has taken what came before. A terminal stays open, as a terminal
    /// does whose user types nothing; whoever wants its reader to see an end of file sends the character for it.
    InputClosed(Process),
    /// The terminal has another size. Nothing to a process without one.
    Resize {
        /// The app or the command.
        process: Process,
        /// The new size.
        size: WindowSize,
    },
    /// Send a signal to the foreground process group of the process's terminal; without a terminal, to the process's own
    /// group.
    Signal {
        /// The app or the command.
        process: Process,
        /// Its number; one that does not exist is ignored.
        signal: u8,
    },
    /// Nobody waits for the command any more: SIGHUP to its process group, and SIGKILL if that does not help. Its end is
    /// told all the same.
    HangUp(SessionId),
    /// Send SIGKILL to everything at once, then halt. What apps wrote before is still sent, and how they ended.
    Kill,
    /// About a tunnel.
    Tunnel(TunnelMessage),
    /// The host's clock was set, the host slept, or so much time has passed that the guest's clock may have drifted: follow it.
    Clock {
        /// Host wall clock when the message was written, in nanoseconds since the Unix epoch.
        realtime_ns: u64,
    },
    /// Start an app of a mutable pod. Its number may be that of no app which the guest has not forgotten. Answered by
    /// [`ToHost::Started`] or [`ToHost::StartFailed`].
    StartApp(Box<AppSpec>),
    /// End the app: SIGTERM to all of its processes, SIGKILL to what is left after the grace period. Its
    /// [`ToHost::Exited`] comes when its processes have ended, but for commands that were run in it. Without effect on an app
    /// that has ended.
    StopApp(AppId),
    /// Nothing of the app, which has ended or was not started, is needed any more: what it left running is killed, and the
    /// guest lets go of all it holds for the app. Answered by [`ToHost::Forgotten`].
    ForgetApp(AppId),
}

/// From guest-init to stage1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// The VM is up and wants to know who it is.
    Hello(Hello),
    /// The app's process exists and has executed its program.
    Started {
        /// The app.
        app: AppId,
        /// Its process ID in the guest.
        pid: u32,
    },
    /// The app could not be started. The pod fails (exit code 254) with this reason; it names the path at fault. A mutable
    /// pod goes on.
    StartFailed {
        /// The app.
        app: AppId,
        /// A sentence for the person at the terminal.
        reason: String,
    },
    /// Every app was started, and has said so if it is one that does.
    Ready,
    /// Bytes a process wrote, at most [`crate::MAX_OUTPUT_BYTES`], within the stream's credit.
    Output {
        /// The app or the command.
        process: Process,
        /// Its stream.
        stream: StdioStream,
        /// The bytes, unchanged.
        #[serde(with = "crate::bytes")]
        data: Vec<u8>,
    },
    /// Nothing more will come from this stream. Sent for every stream ([`crate::Stdio::streams`]) of every started app, before
    /// `Halting` at the latest, and of every started command, before its `SessionExited` at the latest.
    OutputClosed {
        /// The app or the command.
        process: Process,
        /// Its stream.
        stream: StdioStream,
    },
    /// The app ended; all that it wrote has been sent before. Its streams are usually closed by then; descendants that
    /// outlive it may still write to them, so only `OutputClosed` is the end of a stream.
    Exited {
        /// The app.
        app: AppId,
        /// How.
        exit: AppExit,
    },
    /// The guest cannot go on (a mount failed, the specification is impossible). The pod fails with this reason; it is the
    /// last message, in place of `Halting`.
    Failed {
        /// A sentence for the person at the terminal.
        reason: String,
    },
    /// Everything is stopped, synced and unmounted; the VM resets itself next. Without it, the end of the VM is a crash.
    Halting,
    /// The command's process exists and has executed its program.
    SessionStarted {
        /// The command.
        session: SessionId,
        /// Its process ID in the guest.
        pid: u32,
    },
    /// The command could not be started; nothing more is said of it.
    SessionFailed {
        /// The command.
        session: SessionId,
        /// A sentence for the person at the terminal; it names the path at fault.
        reason: String,
    },
    /// The command ended. All that it wrote has been sent and its streams are closed; nothing more is said of it. Descendants
    /// that hold on to its outputs keep nobody waiting.
    SessionExited {
        /// The command.
        session: SessionId,
        /// How.
        exit: AppExit,
    },
    /// The process's standard input has taken (or dropped) this many bytes; the host may send as many more.
    InputCredit {
        /// The app or the command.
        process: Process,
        /// Bytes, added to what is left.
        bytes: u32,
    },
    /// About a tunnel.
    Tunnel(TunnelMessage),
    /// An event handler of the app runs: what the app writes from now on is written by this process.
    HandlerStarted {
        /// The app.
        app: AppId,
        /// The occasion.
        handler: Handler,
        /// Its process ID in the guest.
        pid: u32,
    },
    /// An event handler of the app failed. The app is not started then, or has ended anyway; `Exited` or `StartFailed`
    /// follows.
    HandlerFailed {
        /// The app.
        app: AppId,
        /// The occasion.
        handler: Handler,
        /// How.
        end: HandlerEnd,
    },
    /// The kernel has killed processes of the app because it used more memory than it may, or the VM had no more. At most
    /// once, before its `Exited`.
    OutOfMemory {
        /// The app.
        app: AppId,
    },
    /// The guest knows nothing of the app any more: its streams are closed, and its number may be given to another one.
    Forgotten(AppId),
    /// The app's main process, or a pre-start handler in its place, has failed while nobody had asked for its end. `Exited`
    /// follows, when what the app leaves behind and its post-stop handlers have ended; those of other apps may come before.
    Failing {
        /// The app.
        app: AppId,
        /// How.
        exit: AppExit,
    },
    /// The app speaks to the service manager of the host (sd_notify(3)).
    Notices {
        /// The app.
        app: AppId,
        /// What it says.
        notices: Vec<Notice>,
    },
}

/// Something that an app says to the service manager of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// What it is doing, at most [`crate::MAX_STATUS_BYTES`].
    Status(String),
    /// It is alive.
    Alive,
}

//! The messages themselves. New variants and fields go last: a position is its wire encoding (postcard).
//!
//! Responsible for: the vocabulary. Must not know: who sends over what.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::NetworkSpec;

/// Number the host gives an app in its [`AppSpec`]; it names the app in every later message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId(pub u16);

/// Number the host gives a command that it runs in an app ([`SessionSpec`]). Never given twice in the life of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u32);

/// Number of a tunnel, given by the side that opens it. It may be given again once both sides have ended the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TunnelId(pub u16);

impl TunnelId {
    /// Set in the numbers that the host gives, so that both sides can open tunnels at the same time.
    const OF_HOST: u16 = 1 << 15;

    /// A number of the host's or the guest's.
    pub fn numbered(number: u16, of_host: bool) -> Self {
        let number = number & !Self::OF_HOST;
        Self(if of_host { number | Self::OF_HOST } else { number })
    }

    /// Whether the host gave it.
    pub fn is_of_host(self) -> bool {
        self.0 & Self::OF_HOST != 0
    }
}

/// Where a tunnel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    /// The host's metadata service. Opened by the guest.
    MetadataService,
    /// An app's socket of this number ([`ListeningSocket::number`]). Opened by the host.
    Socket(u16),
}

impl Destination {
    /// How many tunnels of its kind a pod may have at once.
    pub fn limit(self) -> usize {
        match self {
            Self::MetadataService => crate::MAX_METADATA_TUNNELS,
            Self::Socket(_) => crate::MAX_SOCKET_TUNNELS,
        }
    }

    /// Whether tunnels to both count together.
    pub fn shares_limit_with(self, other: Self) -> bool {
        matches!(self, Self::MetadataService) == matches!(other, Self::MetadataService)
    }

    /// Whether a server that says nothing more has ended the tunnel in both directions: HTTP without upgrades.
    pub fn ends_as_a_whole(self) -> bool {
        self == Self::MetadataService
    }
}

/// What is said about tunnels, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TunnelMessage {
    /// Somebody has connected. From the guest only if the pod uses the metadata service ([`PodSpec::metadata_service`]), from
    /// the host only to sockets that it told the guest of; no more at once than [`Destination::limit`].
    Opened {
        /// The new number.
        tunnel: TunnelId,
        /// Where to.
        destination: Destination,
    },
    /// Bytes, at most [`crate::MAX_TUNNEL_BYTES`], within the tunnel's credit.
    Data {
        /// The tunnel.
        tunnel: TunnelId,
        /// The bytes, unchanged.
        #[serde(with = "crate::bytes")]
        data: Vec<u8>,
    },
    /// What came through the tunnel has gone on: the other side may send as many more bytes.
    Credit {
        /// The tunnel.
        tunnel: TunnelId,
        /// Bytes, added to what is left.
        bytes: u32,
    },
    /// Nothing more comes from this side; what still arrives may be dropped. Once both sides have said it, the number is free.
    End(TunnelId),
}

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

/// What a process finds at one of its standard descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// /dev/null.
    Null,
    /// A pipe.
    Pipe,
    /// The process's one terminal, which is also its controlling terminal.
    Terminal,
}

/// What a process finds at its standard descriptors: any mix, with one terminal for all of those that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Endpoint,
    /// Descriptor 1.
    pub stdout: Endpoint,
    /// Descriptor 2.
    pub stderr: Endpoint,
    /// What size the terminal starts with, if there is one.
    pub terminal_size: WindowSize,
}

impl Stdio {
    /// Input from /dev/null, a pipe for each output: what is run for its log.
    pub const LOG: Self = Self::without_terminal(Endpoint::Null);

    /// A pipe each.
    pub const PIPES: Self = Self::without_terminal(Endpoint::Pipe);

    const fn without_terminal(stdin: Endpoint) -> Self {
        let (stdout, stderr) = (Endpoint::Pipe, Endpoint::Pipe);
        Self { stdin, stdout, stderr, terminal_size: WindowSize { rows: 0, columns: 0 } }
    }

    /// One terminal for all three.
    pub const fn terminal(size: WindowSize) -> Self {
        let terminal = Endpoint::Terminal;
        Self { stdin: terminal, stdout: terminal, stderr: terminal, terminal_size: size }
    }

    /// Whether there is a terminal.
    pub fn has_terminal(self) -> bool {
        [self.stdin, self.stdout, self.stderr].contains(&Endpoint::Terminal)
    }

    /// As which stream everything arrives that is written to the terminal, its echo included: the first output that is not a
    /// pipe. If both are, only an echo is left, and nobody gets it.
    pub fn terminal_stream(self) -> Option<StdioStream> {
        let free = |(_, endpoint): &(StdioStream, Endpoint)| *endpoint != Endpoint::Pipe;
        let outputs = [(StdioStream::Stdout, self.stdout), (StdioStream::Stderr, self.stderr)];
        outputs.into_iter().find(free).map(|(stream, _)| stream).filter(|_| self.has_terminal())
    }

    /// The streams that carry output, each of them closed by a [`ToHost::OutputClosed`].
    pub fn streams(self) -> &'static [StdioStream] {
        let carries = |stream, endpoint| endpoint == Endpoint::Pipe || self.terminal_stream() == Some(stream);
        match (carries(StdioStream::Stdout, self.stdout), carries(StdioStream::Stderr, self.stderr)) {
            (true, true) => &[StdioStream::Stdout, StdioStream::Stderr],
            (true, false) => &[StdioStream::Stdout],
            (false, true) => &[StdioStream::Stderr],
            (false, false) => &[],
        }
    }

    /// Whether there is somewhere for a [`ToGuest::Input`] to go.
    pub fn takes_input(self) -> bool {
        self.stdin != Endpoint::Null
    }
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

/// Everything a booted, anonymous VM needs to become one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Who the pod is.
    pub identity: Identity,
    /// Apps in manifest order.
    pub apps: Vec<AppSpec>,
    /// Whether a failing app (status other than 0) stops the others, as for every immutable pod (rkt-reference 6.8).
    pub stop_on_failure: bool,
    /// How long apps have between SIGTERM and SIGKILL when the pod stops, in milliseconds.
    pub stop_grace_ms: u32,
    /// Whether apps reach the metadata service at [`crate::METADATA_ADDRESS`], [`crate::METADATA_PORT`].
    pub metadata_service: bool,
    /// Apps come and go ([`ToGuest::StartApp`]); no app's end, and no app's failure to start, ends the pod, which may have no
    /// apps at all. It ends by [`ToGuest::Stop`] and [`ToGuest::Kill`] only.
    pub mutable: bool,
    /// Its interfaces besides loopback, which are there before any app.
    pub network: NetworkSpec,
}

/// What makes two VMs of one template different pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Pod UUID, lower case with dashes. `/etc/machine-id` is this without the dashes.
    pub uuid: String,
    /// Host name of the pod.
    pub hostname: String,
    /// Host wall clock when the message was written, in nanoseconds since the Unix epoch.
    pub realtime_ns: u64,
    /// Fresh random bytes from the host, credited to the guest's generator before any app starts.
    pub entropy: [u8; 32],
}

/// One app to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The app's number in later messages; unique in the pod.
    pub id: AppId,
    /// The app's name (an ACName).
    pub name: String,
    /// Directory of its root file system, relative to the root of the share, e.g. `apps/redis`.
    pub rootfs: String,
    /// Mount the root file system read-only.
    pub read_only_rootfs: bool,
    /// Program and arguments; the program is looked up inside the app's root (rkt-reference 6.2).
    pub exec: Vec<String>,
    /// Environment, complete and in order; nothing is added in the guest.
    pub environment: Vec<(String, String)>,
    /// Absolute path inside the app's root.
    pub working_directory: String,
    /// User: `root`, a number, an absolute path whose owner is meant, or a name in the app's /etc/passwd.
    pub user: String,
    /// Group, in the same forms, looked up in /etc/group.
    pub group: String,
    /// Use the user's numeric ID for a group that cannot be found: converted docker images (rkt-reference 6.4).
    pub group_falls_back_to_user: bool,
    /// Supplementary group IDs.
    pub supplementary_gids: Vec<u32>,
    /// Volumes to mount, in order.
    pub mounts: Vec<MountSpec>,
    /// Generated files bound over paths in the app's root, e.g. `/etc/hosts`.
    pub files: Vec<FileMount>,
    /// Its standard descriptors.
    pub stdio: Stdio,
    /// What it may do and use.
    pub isolation: Isolation,
    /// What happens before and after it, and when it counts as started.
    pub lifecycle: Lifecycle,
    /// Sockets that it is started with, in the order of their descriptors (sd_listen_fds(3)), at most
    /// [`crate::MAX_LISTENING_SOCKETS`].
    pub sockets: Vec<ListeningSocket>,
}

/// A socket that an app is started with: socket activation (rkt-reference 6.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningSocket {
    /// Its name in `LISTEN_FDNAMES`: that of the app's port.
    pub name: String,
    /// Where it listens in the pod.
    pub address: SocketAddr,
    /// What the host calls it that opens tunnels to it, if it does.
    pub number: Option<u16>,
}

/// What an app's image asks for around its own process (rkt-reference 6.8 and 6.10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Programs and arguments to run, one after the other, before the app.
    pub pre_start: Vec<Vec<String>>,
    /// Programs and arguments to run, one after the other, once the app has ended for whatever reason.
    pub post_stop: Vec<Vec<String>>,
    /// The app says itself when it has started, on the socket that `NOTIFY_SOCKET` names (sd_notify(3)).
    pub says_when_ready: bool,
}

impl Lifecycle {
    /// The handlers for an occasion, in order.
    pub fn handlers(&self, handler: Handler) -> &[Vec<String>] {
        match handler {
            Handler::PreStart => &self.pre_start,
            Handler::PostStop => &self.post_stop,
        }
    }

    /// How many handlers there are.
    pub fn count(&self) -> usize {
        self.pre_start.len().saturating_add(self.post_stop.len())
    }
}

/// The occasion of an event handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Handler {
    /// Before the app.
    PreStart,
    /// After its end.
    PostStop,
}

impl Handler {
    /// As manifests spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreStart => "pre-start",
            Self::PostStop => "post-stop",
        }
    }
}

/// What an app may do and use, every command in it included (rkt-reference 6.3 and 6.9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// Capabilities that its processes can ever have (their bounding set): bit N is capability N of capabilities(7).
    pub capabilities: u64,
    /// No program that is executed gains rights by its set-user-ID bit or file capabilities.
    pub no_new_privileges: bool,
    /// How readily the kernel kills it when memory runs out, -1000 to 1000.
    pub oom_score_adjustment: Option<i16>,
    /// Bytes of memory that it may use.
    pub memory_bytes: Option<u64>,
    /// Processor time that it may use, in thousandths of a processor.
    pub cpu_milli: Option<u64>,
    /// Its share of the processors when they are all busy: `cpu.weight`, 1 to 10000.
    pub cpu_weight: Option<u16>,
    /// Hide and write-protect what /proc and /sys hold for the machine's administrator (rkt-reference 6.3).
    pub protect_paths: bool,
    /// Filter of its system calls, as seccomp(2) takes it: instructions of [`crate::FILTER_INSTRUCTION_BYTES`] each, at most
    /// [`crate::MAX_FILTER_BYTES`] in all. An app with a filter that is not root's gains no privileges either.
    pub seccomp: Option<Vec<u8>>,
}

impl Isolation {
    /// Every right and no limit.
    pub const NONE: Self = Self {
        capabilities: u64::MAX,
        no_new_privileges: false,
        oom_score_adjustment: None,
        memory_bytes: None,
        cpu_milli: None,
        cpu_weight: None,
        protect_paths: false,
        seccomp: None,
    };
}

/// A command to run in an app: in its mount name space, root, control group and working directory, with its user,
/// groups and isolation. The app must have been started; its main process may have ended since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The command's number in later messages.
    pub id: SessionId,
    /// The app.
    pub app: AppId,
    /// Program and arguments; the program is looked up like an app's (rkt-reference 6.2).
    pub command: Vec<String>,
    /// Environment, complete and in order; nothing of the app's own is added.
    pub environment: Vec<(String, String)>,
    /// Its standard descriptors.
    pub stdio: Stdio,
}

/// A directory or file of the share that appears inside an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Path relative to the root of the share, e.g. `volumes/data`.
    pub source: String,
    /// Absolute path inside the app's root; resolved there, created when missing.
    pub target: String,
    /// Mount read-only, sub-mounts included.
    pub read_only: bool,
}

/// A small file generated by the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMount {
    /// Absolute path inside the app's root.
    pub target: String,
    /// The whole content.
    #[serde(with = "crate::bytes")]
    pub content: Vec<u8>,
    /// Leave a file the app ships itself alone.
    pub only_if_missing: bool,
    /// The app may not write to it.
    pub read_only: bool,
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
    /// Nothing more will come from this stream. Sent for every stream ([`Stdio::streams`]) of every started app, before
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

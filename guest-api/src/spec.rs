//! What the guest is told of the pod, its apps and commands in them. New variants and fields go last: a position is its wire encoding
//! (postcard).
//!
//! Responsible for: the description of what is to be run. Must not know: what becomes of it, and who sends it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{AppId, NetworkSpec, SessionId, StdioStream, WindowSize};

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

    /// The streams that carry output, each of them closed by a [`crate::ToHost::OutputClosed`].
    pub fn streams(self) -> &'static [StdioStream] {
        let carries = |stream, endpoint| endpoint == Endpoint::Pipe || self.terminal_stream() == Some(stream);
        match (carries(StdioStream::Stdout, self.stdout), carries(StdioStream::Stderr, self.stderr)) {
            (true, true) => &[StdioStream::Stdout, StdioStream::Stderr],
            (true, false) => &[StdioStream::Stdout],
            (false, true) => &[StdioStream::Stderr],
            (false, false) => &[],
        }
    }

    /// Whether there is somewhere for a [`crate::ToGuest::Input`] to go.
    pub fn takes_input(self) -> bool {
        self.stdin != Endpoint::Null
    }
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
    /// Apps come and go ([`crate::ToGuest::StartApp`]); no app's end, and no app's failure to start, ends the pod, which may have no
    /// apps at all. It ends by [`crate::ToGuest::Stop`] and [`crate::ToGuest::Kill`] only.
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

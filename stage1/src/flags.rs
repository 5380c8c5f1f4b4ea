//! The command lines of the entrypoints.
//!
//! Responsible for: parsing argv into types that cannot be wrong, strictly: an argument nobody knows is an error, because
//! stage0 asks only for what our interface version promises. Must not know: what the flags lead to. Follows
//! rkt-reference 4.3 and 4.5.

use std::ffi::OsString;
use std::path::PathBuf;

use appc::AcName;
use firewall::Destination;
use rustix::process::Pid;
use uuid::Uuid;

use crate::hypervisor_options::HypervisorOptions;

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Nobody knows the flag.
    #[error("unknown flag {0:?}")]
    Unknown(String),
    /// The flag needs a value.
    #[error("flag {0} needs a value")]
    MissingValue(&'static str),
    /// The value is not one the flag takes.
    #[error("flag {flag}: invalid value {value:?} (want {expected})")]
    InvalidValue {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// No pod was named.
    #[error("UUID is missing")]
    MissingUuid,
    /// The pod's name is none.
    #[error("UUID {0:?} is malformed")]
    MalformedUuid(String),
    /// `enter` needs a process to enter.
    #[error("flag --pid is missing")]
    MissingPid,
    /// Used by the entrypoints of stage1 itself; a virtual machine has no environment of its own that programs could run in.
    #[error("flag --appname is missing: this stage1 has no environment of its own to enter, only apps")]
    MissingApp,
    /// `attach` needs an app, by a name that is one.
    #[error("flag --app is missing or no name of an app")]
    NoApp,
    /// `enter` needs something to run.
    #[error("there is no command behind \"--\"")]
    MissingCommand,
    /// The guest is spoken to in UTF-8.
    #[error("argument {0:?} is not UTF-8")]
    NotUtf8(OsString),
    /// More than one pod was named.
    #[error("unexpected argument {0:?} after the UUID")]
    TrailingArgument(String),
}

/// One network of `--net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Name of the network.
    pub name: String,
    /// Text behind the colon, for the plugin.
    pub arguments: String,
}

/// Where an app's `/etc/resolv.conf` comes from (rkt-reference 6.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResolvConfMode {
    /// From the networks' answers, else the app's own.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Made by stage0 from `--dns…`.
    Stage0,
    /// The app's own, whatever the networks say.
    None,
}

/// Where an app's `/etc/hosts` comes from (rkt-reference 6.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostsMode {
    /// The app's own, else a generated one.
    #[default]
    Default,
    /// The host's.
    Host,
    /// Made by stage0 from `--hosts-entry`.
    Stage0,
}

/// How the pod shares System V IPC and POSIX message queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpcMode {
    /// Not with anybody else.
    #[default]
    Private,
    /// With the caller; no virtual machine can.
    Parent,
}

/// Command line of the `run` entrypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFlags {
    /// Print more, the guest kernel's messages included.
    pub debug: bool,
    /// Networks, in order.
    pub networks: Vec<NetworkRequest>,
    /// Whom the pod may call; everybody if that was not said.
    pub egress: Option<Vec<Destination>>,
    /// What the hypervisor does otherwise than by itself.
    pub hypervisor: HypervisorOptions,
    /// Connect the one app to the terminal.
    pub interactive: bool,
    /// First host ID and number of IDs of a user namespace.
    pub private_users: Option<(u32, u32)>,
    /// Token of the metadata service.
    pub mds_token: Option<String>,
    /// Root of the administrator's configuration.
    pub local_config: Option<PathBuf>,
    /// Host name of the pod.
    pub hostname: Option<String>,
    /// Source of `/etc/resolv.conf`.
    pub resolv_conf: ResolvConfMode,
    /// Source of `/etc/hosts`.
    pub hosts: HostsMode,
    /// Leave the capability bounding set of apps alone.
    pub disable_capabilities_restriction: bool,
    /// Leave /proc and /sys of apps unprotected.
    pub disable_paths: bool,
    /// Start apps without a seccomp filter.
    pub disable_seccomp: bool,
    /// The pod's apps come and go.
    pub mutable: bool,
    /// IPC name space.
    pub ipc: IpcMode,
    /// The pod.
    pub uuid: Uuid,
}

/// Command line of the `gc` entrypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcFlags {
    /// Print more.
    pub debug: bool,
    /// Root of the administrator's configuration.
    pub local_config: Option<PathBuf>,
    /// The pod.
    pub uuid: Uuid,
}

/// Command line of the `stop` entrypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopFlags {
    /// Kill the pod.
    pub force: bool,
    /// The pod.
    pub uuid: Uuid,
}

/// Command line of the entrypoints `app/add`, `app/start`, `app/stop` and `app/rm`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppFlags {
    /// The app.
    pub app: String,
}

/// Command line of the `enter` entrypoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnterFlags {
    /// The process that runs the pod, from the file `pid`.
    pub pid: Pid,
    /// The app to enter.
    pub app: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// What `attach` is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachAction {
    /// Say what there is.
    #[default]
    List,
    /// Attach to all there is.
    Auto,
    /// Attach to what the other flags name.
    Custom,
}

/// Command line of the `attach` entrypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachFlags {
    /// What to do.
    pub action: AttachAction,
    /// The app.
    pub app: String,
    /// Attach to the terminal's input.
    pub tty_in: bool,
    /// Attach to the terminal's output.
    pub tty_out: bool,
    /// Attach to standard input.
    pub stdin: bool,
    /// Attach to standard output.
    pub stdout: bool,
    /// Attach to standard error.
    pub stderr: bool,
    /// Print more.
    pub debug: bool,
}

/// Arguments that are still to be read, with the value of the one being read.
struct Arguments<I> {
    rest: I,
}

struct Flag {
    name: String,
    value: Option<String>,
}

impl<I: Iterator<Item = String>> Arguments<I> {
    /// Splits `--name=value`, `--name` and, as Go's flag package does, the same with one dash.
    fn split(argument: &str) -> Option<Flag> {
        let text = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
        Some(match text.split_once('=') {
            Some((name, value)) => Flag { name: name.to_owned(), value: Some(value.to_owned()) },
            None => Flag { name: text.to_owned(), value: None },
        })
    }

    /// The next flag and its text. The first argument that is no flag names the pod and ends the flags.
    fn next_flag(&mut self, uuid: &mut Option<String>) -> Option<(String, Flag)> {
        let argument = self.rest.next()?;
        match Self::split(&argument) {
            Some(flag) => Some((argument, flag)),
            None => {
                *uuid = Some(argument);
                None
            }
        }
    }

    fn value(&mut self, name: &'static str, flag: Flag) -> Result<String, FlagError> {
        flag.value.or_else(|| self.rest.next()).ok_or(FlagError::MissingValue(name))
    }

    fn finish(mut self, uuid: Option<String>) -> Result<Uuid, FlagError> {
        let uuid = uuid.ok_or(FlagError::MissingUuid)?;
        if let Some(argument) = self.rest.next() {
            return Err(FlagError::TrailingArgument(argument));
        }
        Uuid::parse_str(&uuid).map_err(|_| FlagError::MalformedUuid(uuid))
    }
}

fn boolean(name: &'static str, flag: &Flag) -> Result<bool, FlagError> {
    match flag.value.as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(value) => {
            Err(FlagError::InvalidValue { flag: name, value: value.to_owned(), expected: "true or false" })
        }
    }
}

fn networks(list: &str) -> Vec<NetworkRequest> {
    list.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (name, arguments) = item.split_once(':').unwrap_or((item, ""));
            NetworkRequest { name: name.to_owned(), arguments: arguments.to_owned() }
        })
        .collect()
}

fn egress(value: &str) -> Result<Vec<Destination>, FlagError> {
    let list = match value.split_once(':') {
        None if value == "deny" => return Ok(Vec::new()),
        Some(("allow", list)) => list,
        _ => "",
    };
    list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| FlagError::InvalidValue {
        flag: "--egress",
        value: value.to_owned(),
        expected: "deny or allow:[tcp:|udp:]ADDRESS[/BITS][:PORT[-PORT]][,...]",
    })
}

fn hypervisor(value: String) -> Result<HypervisorOptions, FlagError> {
    HypervisorOptions::parse(&value).ok_or(FlagError::InvalidValue {
        flag: "--hypervisor-options",
        value,
        expected: "vhost-net, or net-rx-bytes, net-rx-packets, net-tx-bytes and net-tx-packets with numbers above 0",
    })
}

fn private_users(value: &str) -> Result<(u32, u32), FlagError> {
    let parse = || {
        let (shift, count) = value.split_once(':')?;
        Some((shift.parse().ok()?, count.parse().ok()?))
    };
    parse().ok_or_else(|| FlagError::InvalidValue {
        flag: "--private-users",
        value: value.to_owned(),
        expected: "SHIFT:COUNT",
    })
}

fn dns_conf_mode(value: &str) -> Result<(ResolvConfMode, HostsMode), FlagError> {
    let mut modes = (ResolvConfMode::default(), HostsMode::default());
    for item in value.split(',') {
        match item {
            "resolv=default" => modes.0 = ResolvConfMode::Default,
            "resolv=host" => modes.0 = ResolvConfMode::Host,
            "resolv=stage0" => modes.0 = ResolvConfMode::Stage0,
            "resolv=none" => modes.0 = ResolvConfMode::None,
            "hosts=default" => modes.1 = HostsMode::Default,
            "hosts=host" => modes.1 = HostsMode::Host,
            "hosts=stage0" => modes.1 = HostsMode::Stage0,
            _ => {
                return Err(FlagError::InvalidValue {
                    flag: "--dns-conf-mode",
                    value: value.to_owned(),
                    expected: "resolv=host|stage0|none|default,hosts=host|stage0|default",
                });
            }
        }
    }
    Ok(modes)
}

fn ipc(value: &str) -> Result<IpcMode, FlagError> {
    match value {
        "" | "auto" | "private" => Ok(IpcMode::Private),
        "parent" => Ok(IpcMode::Parent),
        _ => Err(FlagError::InvalidValue {
            flag: "--ipc",
            value: value.to_owned(),
            expected: "auto, private or parent",
        }),
    }
}

impl RunFlags {
    /// Parses the arguments behind the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut arguments = Arguments { rest: arguments.into_iter() };
        let mut uuid = None;
        while let Some((argument, flag)) = arguments.next_flag(&mut uuid) {
            match flag.name.as_str() {
                "debug" => flags.debug = boolean("--debug", &flag)?,
                "net" => flags.networks = networks(&arguments.value("--net", flag)?),
                "egress" => flags.egress = Some(egress(&arguments.value("--egress", flag)?)?),
                "hypervisor-options" => {
                    flags.hypervisor = hypervisor(arguments.value("--hypervisor-options", flag)?)?;
                }
                "interactive" => flags.interactive = boolean("--interactive", &flag)?,
                "private-users" => {
                    flags.private_users = Some(private_users(&arguments.value("--private-users", flag)?)?);
                }
                "mds-token" => flags.mds_token = Some(arguments.value("--mds-token", flag)?),
                "local-config" => {
                    flags.local_config = Some(arguments.value("--local-config", flag)?.into());
                }
                "hostname" => {
                    flags.hostname =
                        Some(arguments.value("--hostname", flag)?).filter(|name| !name.is_empty());
                }
                "dns-conf-mode" => {
                    let modes = dns_conf_mode(&arguments.value("--dns-conf-mode", flag)?)?;
                    (flags.resolv_conf, flags.hosts) = modes;
                }
                "disable-capabilities-restriction" => {
                    flags.disable_capabilities_restriction =
                        boolean("--disable-capabilities-restriction", &flag)?;
                }
                "disable-paths" => flags.disable_paths = boolean("--disable-paths", &flag)?,
                "disable-seccomp" => flags.disable_seccomp = boolean("--disable-seccomp", &flag)?,
                "mutable" => flags.mutable = boolean("--mutable", &flag)?,
                "ipc" => flags.ipc = ipc(&arguments.value("--ipc", flag)?)?,
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        flags.uuid = arguments.finish(uuid)?;
        Ok(flags)
    }
}

impl GcFlags {
    /// Parses the arguments behind the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut arguments = Arguments { rest: arguments.into_iter() };
        let mut uuid = None;
        while let Some((argument, flag)) = arguments.next_flag(&mut uuid) {
            match flag.name.as_str() {
                "debug" => flags.debug = boolean("--debug", &flag)?,
                "local-config" => {
                    flags.local_config = Some(arguments.value("--local-config", flag)?.into());
                }
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        flags.uuid = arguments.finish(uuid)?;
        Ok(flags)
    }
}

impl StopFlags {
    /// Parses the arguments behind the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut arguments = Arguments { rest: arguments.into_iter() };
        let mut uuid = None;
        while let Some((argument, flag)) = arguments.next_flag(&mut uuid) {
            match flag.name.as_str() {
                "force" => flags.force = boolean("--force", &flag)?,
                // Every other entrypoint takes it.
                "debug" => drop(boolean("--debug", &flag)?),
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        flags.uuid = arguments.finish(uuid)?;
        Ok(flags)
    }
}

impl AppFlags {
    /// Parses the arguments behind the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut arguments = Arguments { rest: arguments.into_iter() };
        let (mut app, mut stray) = (None, None);
        while let Some((argument, flag)) = arguments.next_flag(&mut stray) {
            match flag.name.as_str() {
                "debug" => drop(boolean("--debug", &flag)?),
                // The pod is the one in the working directory.
                "uuid" => drop(arguments.value("--uuid", flag)?),
                "app" => app = Some(arguments.value("--app", flag)?),
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        if let Some(argument) = stray {
            return Err(FlagError::Unknown(argument));
        }
        let app = app.filter(|app| !app.is_empty()).ok_or(FlagError::MissingValue("--app"))?;
        Ok(Self { app })
    }
}

impl EnterFlags {
    /// Parses the arguments behind the program's name. What follows `--` is the command's, to the letter.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, FlagError> {
        let mut texts = arguments.into_iter().map(|it| it.into_string().map_err(FlagError::NotUtf8));
        let mut own = Vec::new();
        for text in texts.by_ref() {
            match text? {
                end if end == "--" => break,
                text => own.push(text),
            }
        }
        let command = texts.collect::<Result<Vec<String>, FlagError>>()?;
        let (mut pid, mut app) = (None, None);
        let mut arguments = Arguments { rest: own.into_iter() };
        let mut stray = None;
        while let Some((argument, flag)) = arguments.next_flag(&mut stray) {
            match flag.name.as_str() {
                "pid" => {
                    let value = arguments.value("--pid", flag)?;
                    let number = value.parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw);
                    pid = Some(number.ok_or(FlagError::InvalidValue {
                        flag: "--pid",
                        value,
                        expected: "the number of a process",
                    })?);
                }
                "appname" => app = Some(arguments.value("--appname", flag)?),
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        if let Some(argument) = stray {
            return Err(FlagError::Unknown(argument));
        }
        let pid = pid.ok_or(FlagError::MissingPid)?;
        let app = app.filter(|app| !app.is_empty()).ok_or(FlagError::MissingApp)?;
        if command.is_empty() {
            return Err(FlagError::MissingCommand);
        }
        Ok(Self { pid, app, command })
    }
}

impl AttachFlags {
    /// Parses the arguments behind the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, FlagError> {
        let mut flags = Self::default();
        let mut arguments = Arguments { rest: arguments.into_iter() };
        let mut stray = None;
        while let Some((argument, flag)) = arguments.next_flag(&mut stray) {
            match flag.name.as_str() {
                "action" => flags.action = action(arguments.value("--action", flag)?)?,
                "app" => flags.app = arguments.value("--app", flag)?,
                "tty-in" => flags.tty_in = boolean("--tty-in", &flag)?,
                "tty-out" => flags.tty_out = boolean("--tty-out", &flag)?,
                "stdin" => flags.stdin = boolean("--stdin", &flag)?,
                "stdout" => flags.stdout = boolean("--stdout", &flag)?,
                "stderr" => flags.stderr = boolean("--stderr", &flag)?,
                "debug" => flags.debug = boolean("--debug", &flag)?,
                _ => return Err(FlagError::Unknown(argument)),
            }
        }
        if let Some(argument) = stray {
            return Err(FlagError::Unknown(argument));
        }
        // It becomes a part of a path.
        flags.app.parse::<AcName>().map_err(|_| FlagError::NoApp)?;
        Ok(flags)
    }
}

fn action(value: String) -> Result<AttachAction, FlagError> {
    match value.as_str() {
        "list" => Ok(AttachAction::List),
        "auto-attach" => Ok(AttachAction::Auto),
        "custom-attach" => Ok(AttachAction::Custom),
        _ => {
            let expected = "list, auto-attach or custom-attach";
            Err(FlagError::InvalidValue { flag: "--action", value, expected })
        }
    }
}

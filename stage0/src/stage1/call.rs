//! Calling stage1's programs.
//!
//! Responsible for: their arguments, environment, directory and descriptors. Must not know: what happens inside.
//! Follows rkt-reference.md 4.2 to 4.6.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::FdFlags;

use crate::cli::insecure::InsecureOptions;
use crate::clock;
use crate::config::Jail;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;
use crate::log::Log;
use crate::pod::assemble::stage1_root;

/// First interface version with `--hostname`.
const HOSTNAME_VERSION: u32 = 2;
/// First interface version with `--disable-…`.
const INSECURE_VERSION: u32 = 3;
/// First interface version with `--dns-conf-mode`.
const DNS_VERSION: u32 = 4;
/// First interface version with `--ipc`.
const IPC_VERSION: u32 = 6;
/// First interface version whose gc takes `--local-config`.
const GC_CONFIG_VERSION: u32 = 5;

/// What `run` tells stage1.
#[derive(Debug, Clone)]
pub struct RunOptions<'a> {
    /// `--debug` was given.
    pub debug: bool,
    /// Networks, joined by commas.
    pub networks: String,
    /// Whom the pod may call, if that was said.
    pub egress: Option<&'a str>,
    /// What the hypervisor does otherwise than by itself.
    pub hypervisor: Option<&'a str>,
    /// The one app gets the terminal.
    pub interactive: bool,
    /// `SHIFT:COUNT` of the pod's user namespace.
    pub private_users: Option<&'a str>,
    /// What the metadata service knows the pod by.
    pub mds_token: Option<String>,
    /// The local configuration directory.
    pub local_config: &'a Path,
    /// The pod's host name, if the user wants another than the default.
    pub hostname: Option<&'a str>,
    /// Where `/etc/resolv.conf` and `/etc/hosts` come from, if not both from the default places.
    pub dns_conf_mode: Option<String>,
    /// Restrictions that apps are spared.
    pub insecure: InsecureOptions,
    /// Apps come and go while the pod runs.
    pub mutable: bool,
    /// How the pod's System V IPC relates to the host's.
    pub ipc: Option<&'a str>,
}

/// What stage1 is told by that it may run no pod with a wall missing. Not a flag, which other stage1 images would refuse.
const JAIL_VARIABLE: &str = "RKT_HYPERVISOR_JAIL";

/// Arguments of the run entrypoint, without the program itself, in rkt's order.
pub fn run_arguments(options: &RunOptions<'_>, interface: u32, uuid: &str, log: Log) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    if options.debug {
        arguments.push("--debug".into());
    }
    arguments.push(format!("--net={}", options.networks).into());
    // No version of the interface has these: a stage1 that does not know them ends, as it must, rather than let the pod call anybody.
    if let Some(egress) = options.egress {
        arguments.push(format!("--egress={egress}").into());
    }
    if let Some(hypervisor) = options.hypervisor {
        arguments.push(format!("--hypervisor-options={hypervisor}").into());
    }
    if options.interactive {
        arguments.push("--interactive".into());
    }
    if let Some(range) = options.private_users {
        arguments.push(format!("--private-users={range}").into());
    }
    if let Some(token) = &options.mds_token {
        arguments.push(format!("--mds-token={token}").into());
    }
    let mut local_config = OsString::from("--local-config=");
    local_config.push(options.local_config);
    arguments.push(local_config);

    // What came with later versions of the interface; an older stage1 gets a pod without it.
    let mut since = |version, argument: String, warning: &str| {
        if interface >= version {
            arguments.push(argument.into());
        } else {
            log.print(format!("warning: {warning} supported by stage1"));
        }
    };
    if let Some(hostname) = options.hostname {
        since(HOSTNAME_VERSION, format!("--hostname={hostname}"), "--hostname option is not");
    }
    if let Some(mode) = &options.dns_conf_mode {
        since(DNS_VERSION, format!("--dns-conf-mode={mode}"), "--dns-conf-mode option not");
    }
    let restrictions = [
        (options.insecure.skip_capabilities(), "--disable-capabilities-restriction"),
        (options.insecure.skip_paths(), "--disable-paths"),
        (options.insecure.skip_seccomp(), "--disable-seccomp"),
    ];
    for (_, flag) in restrictions.iter().filter(|(disabled, _)| *disabled) {
        since(INSECURE_VERSION, (*flag).to_owned(), &format!("{flag} option is not"));
    }
    if options.mutable {
        // stage1's entrypoints say whether it can, not its version.
        since(0, "--mutable".to_owned(), "");
    }
    if let Some(mode) = options.ipc {
        since(IPC_VERSION, format!("--ipc={mode}"), "--ipc option is not");
    }
    arguments.push(uuid.into());
    arguments
}

/// Replaces this process by stage1's run entrypoint, which inherits the pod's lock. Returns only if that fails.
pub fn exec_run(
    pod: &Path,
    entrypoint: &str,
    arguments: &[OsString],
    jail: Option<Jail>,
    lock: &OwnedFd,
) -> Stage0Error {
    let program = program(pod, entrypoint);
    if let Err(error) =
        rustix::io::fcntl_setfd(lock, FdFlags::empty()).context("error clearing FD_CLOEXEC on lock fd")
    {
        return error;
    }
    fault::point("run.handed-over");
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .current_dir(pod)
        .env("RKT_LOCK_FD", lock.as_raw_fd().to_string())
        .env("RKT_STARTED_NS", clock::process_start_ns().to_string())
        .env("RKT_SELINUX_CONTEXT", "")
        .env("RKT_SELINUX_MOUNT_CONTEXT", "");
    match jail {
        Some(Jail::Strict) => drop(command.env(JAIL_VARIABLE, "strict")),
        // The caller may have asked for it.
        None => {}
    }
    let cause = command.exec();
    match Err::<(), _>(cause).file("execute", &program).context("error execing init") {
        Err(error) => error,
        Ok(()) => Stage0Error::refused("error execing init"),
    }
}

/// A command that `enter` runs in an app.
#[derive(Debug, Clone, Copy)]
pub struct EnterOptions<'a> {
    /// The pod's directory.
    pub pod: &'a Path,
    /// stage1's enter in the tree store.
    pub program: &'a Path,
    /// The pod's first process.
    pub pid: i32,
    /// The app.
    pub app: &'a str,
    /// The command and its arguments, exactly as they were typed.
    pub command: &'a [String],
}

/// Arguments of the enter entrypoint, without the program itself.
pub fn enter_arguments(options: &EnterOptions<'_>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        format!("--pid={}", options.pid).into(),
        format!("--appname={}", options.app).into(),
        "--".into(),
    ];
    arguments.extend(options.command.iter().map(OsString::from));
    arguments
}

/// Replaces this process by stage1's enter entrypoint. Returns only if that fails.
pub fn exec_enter(options: &EnterOptions<'_>) -> Stage0Error {
    let cause = Command::new(options.program).args(enter_arguments(options)).current_dir(options.pod).exec();
    match Err::<(), _>(cause).file("execute", options.program).context("enter failed") {
        Err(error) => error,
        Ok(()) => Stage0Error::refused("enter failed"),
    }
}

/// Arguments of the stop entrypoint, without the program itself.
pub fn stop_arguments(force: bool, uuid: &str) -> Vec<OsString> {
    let force = force.then(|| "--force".into());
    force.into_iter().chain([uuid.into()]).collect()
}

/// Arguments of the gc entrypoint, without the program itself.
pub fn gc_arguments(debug: bool, local_config: &Path, interface: u32, uuid: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    if debug {
        arguments.push("--debug".into());
    }
    if interface >= GC_CONFIG_VERSION {
        arguments.push("--local-config".into());
        arguments.push(local_config.into());
    }
    arguments.push(uuid.into());
    arguments
}

/// Runs the gc entrypoint to its end.
pub fn run_gc(pod: &Path, entrypoint: &str, arguments: &[OsString]) -> Result<Cleaning> {
    let program = program(pod, entrypoint);
    let status = child(pod, &program, arguments).stdout(Stdio::null()).status().file("execute", &program)?;
    if matches!(status.signal(), Some(libc::SIGKILL | libc::SIGTERM)) {
        return Ok(Cleaning::CutShort(status.to_string()));
    }
    match Ended::from(status) {
        Ended::Well => Ok(Cleaning::Done),
        Ended::Badly(how) => Err(Stage0Error::refused(how)),
    }
}

/// How far stage1's gc got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaning {
    /// To its end.
    Done,
    /// Somebody has killed it; the text says how.
    CutShort(String),
}

/// A program of stage1's that runs beside rkt and writes where rkt does. Dropping it kills it.
#[derive(Debug)]
pub struct Stage1Process {
    child: Child,
    program: PathBuf,
}

/// Runs the metrics entrypoint, whose output is this program's.
pub fn print_metrics(pod: &Path, entrypoint: &str) -> Result<()> {
    let program = program(pod, entrypoint);
    let status = child(pod, &program, &[]).status().file("execute", &program)?;
    match Ended::from(status) {
        Ended::Well => Ok(()),
        Ended::Badly(how) => Err(Stage0Error::refused(how)),
    }
}

/// How a program of stage1's ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With success.
    Well,
    /// Without; the text says how.
    Badly(String),
}

impl Stage1Process {
    /// Starts it.
    pub fn start(pod: &Path, entrypoint: &str, arguments: &[OsString]) -> Result<Self> {
        let program = program(pod, entrypoint);
        let child = child(pod, &program, arguments).spawn().file("execute", &program)?;
        Ok(Stage1Process { child, program })
    }

    /// How it ended; `None` as long as it runs.
    pub fn poll(&mut self) -> Result<Option<Ended>> {
        Ok(self.child.try_wait().file("wait for", &self.program)?.map(Ended::from))
    }
}

impl Drop for Stage1Process {
    fn drop(&mut self) {
        // One that has ended is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(0) => Ended::Well,
            Some(code) => Ended::Badly(format!("exit status {code}")),
            None => Ended::Badly(status.to_string()),
        }
    }
}

fn child(pod: &Path, program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(pod).stdin(Stdio::null());
    command
}

fn program(pod: &Path, entrypoint: &str) -> PathBuf {
    stage1_root(pod).join(entrypoint)
}

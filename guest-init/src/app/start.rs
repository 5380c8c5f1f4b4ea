//! From an app's specification to its running program.
//!
//! Responsible for: one fork, and everything between it and execve(2). Must not know: what becomes of the process
//! afterwards. Follows rkt-reference 6.2 and 6.4, execve(2), credentials(7).

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::os::fd::{AsFd, OwnedFd};

use guest_api::AppSpec;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{ForkResult, Gid, Pid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fork};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit};

use super::users::Ids;
use super::{cgroup, lookup, root, users};
use crate::{InitError, sentence};

/// Longest reason the child reports: one write to a pipe of at most PIPE_BUF bytes is never split.
pub const MAX_REASON_BYTES: usize = 4096;

/// Open files a process may allow itself, and has without asking: systemd's defaults, which rkt's apps got.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(524_288) };

/// Exit status of a child that did not come to execute its program; nobody sees it, the reason went through the pipe.
const EXIT_NOT_EXECUTED: i32 = 203;

/// An app's process, which may not have executed its program yet.
#[derive(Debug)]
pub struct Child {
    /// Its process ID, also that of its session and process group.
    pub pid: Pid,
    /// Ends without a byte when the program is executed; else carries the reason why not.
    pub report: OwnedFd,
    /// What it writes to descriptor 1.
    pub stdout: OwnedFd,
    /// What it writes to descriptor 2.
    pub stderr: OwnedFd,
}

/// Writing ends, which belong to the child.
struct Outputs {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Makes the process. May only be called while this process has one thread.
pub fn spawn(app: &AppSpec) -> Result<Child, InitError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(InitError::kernel("make a pipe"));
    cgroup::create(app.id, &app.name)?;
    let (report, report_end) = pipe()?;
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    // SAFETY: guest-init has no threads, so the child may do anything its parent might.
    match unsafe { fork() }.map_err(InitError::kernel("make a process"))? {
        ForkResult::Parent { child } => Ok(Child { pid: child, report, stdout, stderr }),
        ForkResult::Child => {
            let outputs = Outputs { stdout: stdout_end, stderr: stderr_end };
            let Err(error) = become_app(app, &outputs);
            let mut reason = sentence(&error);
            reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
            let _ = rustix::io::write(&report_end, reason.as_bytes());
            // SAFETY: ends this process, at once and without running what PID 1 has registered to run at its own end.
            unsafe { libc::_exit(EXIT_NOT_EXECUTED) }
        }
    }
}

/// Everything between fork and execve, in the child. A stop during the preparation ends the child there and then; that
/// is the app's end by SIGTERM, as if it came a moment later.
fn become_app(app: &AppSpec, outputs: &Outputs) -> Result<Infallible, InitError> {
    nix::unistd::setsid().map_err(InitError::kernel("make a session for the app"))?;
    cgroup::join(app.id).map_err(InitError::kernel("join the app's control group"))?;
    let stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(InitError::kernel("open /dev/null"))?;
    // What is created in the app's root has the mode that is asked for.
    rustix::process::umask(Mode::empty());
    let root = root::enter(app)?;
    let ids = users::resolve(&root, app)?;
    let program = lookup::find(&root, app)?;
    let image = ExecImage::new(app, &program)?;
    rustix::process::chdir(app.working_directory.as_str()).map_err(|error| InitError::WorkingDirectory {
        path: app.working_directory.clone(),
        source: error.into(),
    })?;
    // A pipe can be opened anew through /dev/stdout by its owner only.
    for output in [&outputs.stdout, &outputs.stderr] {
        nix::unistd::fchown(output, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid)))
            .map_err(InitError::kernel("hand the app its outputs"))?;
    }
    take_stdio(&stdin, outputs).map_err(InitError::kernel("give the app its standard descriptors"))?;
    // A convenience: an app runs with the kernel's own limits too.
    let _ = rustix::process::setrlimit(Resource::Nofile, OPEN_FILES);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    assume(&ids).map_err(InitError::kernel(format!("run as uid {} and gid {}", ids.uid, ids.gid)))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(InitError::kernel("unblock signals"))?;
    let Err(error) = nix::unistd::execve(&image.program, &image.arguments, &image.environment);
    let why = lookup::explain(&root, &program, Errno::from_raw_os_error(error as i32));
    Err(InitError::Exec { path: program, why })
}

fn take_stdio(stdin: &OwnedFd, outputs: &Outputs) -> nix::Result<()> {
    dup2_stdin(stdin.as_fd())?;
    dup2_stdout(outputs.stdout.as_fd())?;
    dup2_stderr(outputs.stderr.as_fd())
}

fn assume(ids: &Ids) -> nix::Result<()> {
    let groups: Vec<Gid> = ids.supplementary_gids.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

/// What execve(2) wants, as C strings.
struct ExecImage {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl ExecImage {
    fn new(app: &AppSpec, program: &str) -> Result<Self, InitError> {
        let nul =
            |_: NulError| InitError::Specification("a NUL byte in an argument or a variable".to_owned());
        let c_strings = |texts: Vec<String>| {
            texts.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map_err(nul)
        };
        let variables = app.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Self {
            program: CString::new(program).map_err(nul)?,
            arguments: c_strings(app.exec.clone())?,
            environment: c_strings(variables)?,
        })
    }
}

//! From the specification of an app, or of a command in one, to its running program.
//!
//! Responsible for: one fork, and everything between it and execve(2). Must not know: what becomes of the process
//! afterwards. Follows rkt-reference 6.2 and 6.4, execve(2), credentials(7).

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::os::fd::OwnedFd;

use guest_api::{AppSpec, SessionSpec};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::descriptors::{self, Descriptors, Handed};
use super::lookup::Command;
use super::report::{self, Report, Reporter};
use super::root_dir::RootDir;
use super::seccomp::{self, Failure, Filter};
use super::users::Ids;
use super::{cgroup, limits, lookup, rights, root, users};
use crate::pod::Step;
use crate::{InitError, sentence, sockets};

/// Exit status of a child that did not come to execute its program; nobody sees it, the reason went through the report.
const EXIT_NOT_EXECUTED: i32 = 203;

/// A process, which may not have executed its program yet.
#[derive(Debug)]
pub struct Started {
    /// Its process ID, also that of its session and process group.
    pub pid: Pid,
    /// How its start goes.
    pub report: Report,
    /// PID 1's ends of its standard descriptors.
    pub descriptors: Descriptors,
}

/// What is to run, and where.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    app: &'a AppSpec,
    command: Command<'a>,
    /// An event handler of the app: it runs as root.
    is_handler: bool,
    /// The app's mount name space; None to make it.
    namespace: Option<&'a OwnedFd>,
    /// What it listens on, as [`AppSpec::sockets`] has it.
    sockets: &'a [OwnedFd],
}

/// Makes the process for a step of an app, whose mount name space is `namespace` if an earlier step has made it. May only be
/// called while this process has one thread.
pub fn step(
    app: &AppSpec,
    step: Step,
    namespace: Option<&OwnedFd>,
    handed: &Handed,
    sockets: &[OwnedFd],
) -> Result<(Pid, Report), InitError> {
    let words = match step {
        Step::Main => &app.exec,
        Step::Handler(handler, number) => {
            app.lifecycle.handlers(handler).get(number).ok_or(InitError::EmptyExec)?
        }
    };
    let command = Command { words, environment: &app.environment, working_directory: &app.working_directory };
    let is_handler = step != Step::Main;
    spawn(Job { app, command, is_handler, namespace, sockets }, handed)
}

/// Makes the process of a command in `app`, whose mount name space is `namespace`. May only be called while this process
/// has one thread.
pub fn session(session: &SessionSpec, app: &AppSpec, namespace: &OwnedFd) -> Result<Started, InitError> {
    let command = Command {
        words: &session.command,
        environment: &session.environment,
        working_directory: &app.working_directory,
    };
    let (descriptors, handed) = descriptors::make(session.stdio)?;
    let job = Job { app, command, is_handler: false, namespace: Some(namespace), sockets: &[] };
    let (pid, report) = spawn(job, &handed)?;
    Ok(Started { pid, report, descriptors })
}

fn spawn(job: Job<'_>, handed: &Handed) -> Result<(Pid, Report), InitError> {
    let (report, reporter) = report::pair().map_err(InitError::kernel("make a pair of sockets"))?;
    // SAFETY: guest-init has no threads, so the child may do anything its parent might.
    match unsafe { fork() }.map_err(InitError::kernel("make a process"))? {
        ForkResult::Parent { child } => Ok((child, report)),
        ForkResult::Child => {
            let Err(error) = execute(job, handed, &reporter);
            give_up(&reporter, &error)
        }
    }
}

fn give_up(reporter: &Reporter, error: &InitError) -> ! {
    reporter.fail(sentence(error));
    // SAFETY: ends this process, at once and without running what PID 1 has registered to run at its own end.
    unsafe { libc::_exit(EXIT_NOT_EXECUTED) }
}

/// Everything between fork and execve, in the child. A stop during the preparation ends the child there and then; that
/// is the app's end by SIGTERM, as if it came a moment later.
fn execute(job: Job<'_>, handed: &Handed, reporter: &Reporter) -> Result<Infallible, InitError> {
    nix::unistd::setsid().map_err(InitError::kernel("make a session for the process"))?;
    cgroup::join(job.app.id).map_err(InitError::kernel("join the app's control group"))?;
    let isolation = &job.app.isolation;
    if let Some(adjustment) = isolation.oom_score_adjustment {
        rights::adjust_oom_score(adjustment)
            .map_err(InitError::kernel(format!("adjust the OOM score by {adjustment}")))?;
    }
    // What is created in the app's root has the mode that is asked for.
    rustix::process::umask(Mode::empty());
    let root = enter_root(job, reporter)?;
    let ids = if job.is_handler { Ids::ROOT } else { users::resolve(&root, job.app)? };
    let program = lookup::find(&root, job.command)?;
    let told: &[_] = if job.sockets.is_empty() { &[] } else { &job.app.sockets };
    let image = ExecImage::new(job.command, &program, sockets::variables(told, std::process::id()))?;
    let directory = job.command.working_directory;
    rustix::process::chdir(directory)
        .map_err(|error| InitError::WorkingDirectory { path: directory.to_owned(), source: error.into() })?;
    if job.is_handler { handed.lend(&root) } else { handed.take(&root, &ids) }?;
    sockets::take(job.sockets)?;
    limits::set().map_err(InitError::kernel("set resource limits"))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rights::bound(isolation.capabilities).map_err(InitError::kernel("give up capabilities"))?;
    assume(&ids).map_err(InitError::kernel(format!("run as uid {} and gid {}", ids.uid, ids.gid)))?;
    let filter = isolation.seccomp.as_deref().map(Filter::new).transpose()?;
    // Root may load a filter that its program keeps when it gains rights; others may not.
    if isolation.no_new_privileges || (filter.is_some() && ids.uid != 0) {
        rustix::thread::set_no_new_privs(true).map_err(InitError::kernel("set no_new_privs"))?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(InitError::kernel("unblock signals"))?;
    let refused = |error| {
        let why = lookup::explain(&root, &program, error);
        InitError::Exec { path: program.clone(), why }
    };
    let Some(filter) = filter else { return Err(refused(image.execute())) };
    seccomp::execute_within(
        &filter,
        || image.execute(),
        |failure| match failure {
            Failure::Execution(error) => give_up(reporter, &refused(error)),
            Failure::Filter(error) => {
                give_up(reporter, &InitError::kernel("load the app's seccomp filter")(error))
            }
        },
    )
}

/// PID 1 keeps an app's mount name space for the commands that come later, whatever becomes of the app's process.
fn enter_root(job: Job<'_>, reporter: &Reporter) -> Result<RootDir, InitError> {
    if let Some(namespace) = job.namespace {
        return root::join(namespace);
    }
    let namespace = root::make_namespace()?;
    let root = root::enter(job.app)?;
    // Not before: until then its root is that of PID 1.
    reporter.hand_over(&namespace).map_err(InitError::kernel("hand over the app's mount namespace"))?;
    Ok(root)
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
    arguments: CStrings,
    environment: CStrings,
}

/// An array of C strings as the kernel reads it: pointers, and a null pointer at the end.
struct CStrings {
    pointers: Vec<*const libc::c_char>,
    /// What they point to.
    _strings: Vec<CString>,
}

impl From<Vec<CString>> for CStrings {
    fn from(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { pointers, _strings: strings }
    }
}

impl ExecImage {
    /// `more` goes before variables of the same names.
    fn new(command: Command<'_>, program: &str, more: Vec<(String, String)>) -> Result<Self, InitError> {
        let nul =
            |_: NulError| InitError::Specification("a NUL byte in an argument or a variable".to_owned());
        let c_strings = |texts: Vec<String>| {
            texts.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>().map_err(nul)
        };
        let own = |(name, _): &&(String, String)| more.iter().all(|(other, _)| other != name);
        let environment = command.environment.iter().filter(own).chain(&more);
        let variables = environment.map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Self {
            program: CString::new(program).map_err(nul)?,
            arguments: c_strings(command.words.to_vec())?.into(),
            environment: c_strings(variables)?.into(),
        })
    }

    /// Executes the program, by nothing but the system call: a filter that is in force may forbid every other.
    fn execute(&self) -> Errno {
        let (arguments, environment) = (self.arguments.pointers.as_ptr(), self.environment.pointers.as_ptr());
        // SAFETY: a C string and two arrays of them, each ending with a null pointer, which outlive the call.
        unsafe { libc::execve(self.program.as_ptr(), arguments, environment) };
        super::last_errno()
    }
}

//! Child processes of the supervisor.
//!
//! Responsible for: forking a child that has nothing but the descriptors it was given, learning how it ended, killing it.
//! Must not know: what children do. Follows fork(2), pidfd_open(2), prctl(2), close_range(2).
//!
//! A child is a fork without exec: its code and configuration are in memory already, and an exec of this multi-call binary
//! would cost a page cache walk and a relocation for nothing. That is sound because the supervisor is
//! single-threaded whenever it forks.

mod place;
mod refusal;
#[cfg(test)]
mod refusal_test;

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use guest_api::{FrameBuffer, encode};
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::jail::Demand;

pub use place::Place;
pub use refusal::{Call, Refusal, answer_refused_calls, report_refused_calls};

/// The unit of times in /proc, the same on every x86-64 Linux (proc(5), sysconf(3)).
const TICKS_PER_SECOND: u64 = 100;

/// Why a child could not be made, watched or stopped.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the {name} process")]
pub struct ProcessError {
    name: &'static str,
    doing: &'static str,
    #[source]
    cause: std::io::Error,
}

impl ProcessError {
    /// What the child needs could not be had.
    pub fn starting(name: &'static str, cause: std::io::Error) -> Self {
        Self { name, doing: "start", cause }
    }
}

/// What a child leaves behind.
#[derive(Debug, Serialize, Deserialize)]
enum Report<R> {
    Done(R),
    /// A bug: where and what.
    Panicked(String),
    /// A system call that its filter does not allow. Written by [`refusal`].
    Refused(Refusal),
    /// Not the last that is heard: walls around it that this host lacks.
    Missing(Vec<String>),
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End<R> {
    /// It did its work and said this.
    Done(R),
    /// It had a bug and said this.
    Panicked(String),
    /// It made a system call that its filter does not allow.
    Refused(Refusal),
    /// A signal killed it.
    Killed(i32),
    /// It exited without a word.
    Silent,
}

impl<R> End<R> {
    /// Why a process that did not do its work has ended.
    pub fn describe(self) -> String {
        match self {
            Self::Panicked(message) => message,
            Self::Refused(refusal) => refusal.to_string(),
            Self::Killed(libc::SIGSYS) => "its filter of system calls ended it (signal 31)".to_owned(),
            Self::Killed(signal) => format!("it was killed by signal {signal}"),
            Self::Done(_) | Self::Silent => "it ended without a reason".to_owned(),
        }
    }
}

/// A child process that will report an `R`.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    pid: Pid,
    pidfd: OwnedFd,
    report: File,
    /// What was read of the report so far.
    said: RefCell<Vec<u8>>,
    sees_others: bool,
}

/// Whom a child sees, and can send signals to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// All processes of the host.
    Host,
    /// Itself: it is the first of a PID name space of its own, where the host can make one.
    Nobody,
    /// The same, or it is not started.
    NobodyAtAll,
}

impl Company {
    /// Of a child that is to see nobody.
    pub fn with(demand: Demand) -> Self {
        match demand {
            Demand::WhatTheHostHas => Self::Nobody,
            Demand::Everything => Self::NobodyAtAll,
        }
    }
}

/// Forks a child that runs `work` and reports its result.
///
/// The child leads a session of its own, so that a Ctrl-C at the terminal reaches the supervisor only; dies with the
/// supervisor; holds `/dev/null` as its standard streams and no other descriptor than `keep`, so neither the pod's
/// lock nor the terminal. (A change of user or group by the child revokes "dies with the supervisor": prctl(2),
/// PR_SET_PDEATHSIG. The file server changes both, and ends when the VMM hangs up instead.)
///
/// Must be called while the process has one thread. `keep` names every descriptor that `work` owns; the supervisor's
/// copies close with `work`.
pub fn spawn<R, W>(
    name: &'static str,
    company: Company,
    keep: &[RawFd],
    work: W,
) -> Result<Child, ProcessError>
where
    R: Serialize,
    W: FnOnce() -> R,
{
    spawn_in(&Place::default(), name, company, keep, work)
}

/// The same for a child that is in these control groups from its first instruction.
pub fn spawn_in<R, W>(
    place: &Place,
    name: &'static str,
    company: Company,
    keep: &[RawFd],
    work: W,
) -> Result<Child, ProcessError>
where
    R: Serialize,
    W: FnOnce() -> R,
{
    let failed = |cause: std::io::Error| ProcessError { name, doing: "start", cause };
    let (report, mut reporter) = std::io::pipe().map_err(failed)?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let mut keep = [keep, &[0, 1, 2, reporter.as_raw_fd()]].concat();
    let home = if company == Company::Host { Ok(None) } else { prepare_pid_namespace().map(Some) };
    let home = match home {
        Err(cause) if company == Company::NobodyAtAll => {
            return Err(ProcessError { name, doing: "make a PID name space for", cause });
        }
        home => home.ok().flatten(),
    };
    let sees_others = home.is_none();

    // SAFETY: the process has one thread, so the child starts with no lock held by a thread that does not exist in it.
    let forked = unsafe { place.fork() };
    if let (Some(home), Ok((ForkResult::Parent { .. }, _)) | Err(_)) = (&home, &forked)
        && let Err(errno) =
            rustix::thread::move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::ProcessID))
    {
        // Further children were to be of this process's name space again. Nobody would know of this one.
        if let Ok((ForkResult::Parent { child }, _)) = forked {
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
        }
        return Err(failed(errno.into()));
    }
    let (forked, entered) = forked.map_err(|errno| failed(errno.into()))?;
    match forked {
        ForkResult::Parent { child } => {
            let pid = Pid::from_raw(child.as_raw()).ok_or_else(|| failed(rustix::io::Errno::SRCH.into()))?;
            let pidfd =
                rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|e| failed(e.into()))?;
            let report = File::from(OwnedFd::from(report));
            Ok(Child { name, pid, pidfd, report, said: RefCell::default(), sees_others })
        }
        ForkResult::Child => {
            PANIC_REPORT.store(reporter.as_raw_fd(), Ordering::Relaxed);
            if let Err(error) = place.enter(entered) {
                let text = format!("it cannot enter its control group: {error}");
                send(&mut reporter, &Report::<R>::Panicked(text));
            } else if detach(&null, &mut keep).is_ok() {
                send(&mut reporter, &Report::Done(work()));
            }
            leave()
        }
    }
}

/// Does `work` in a process that nobody waits for and that keeps nobody waiting: it holds nothing of the supervisor's when this returns,
/// and outlives it. If there cannot be one, the work is not done.
///
/// Must be called while the process has one thread.
pub fn detached(work: impl FnOnce()) {
    // It has let go of the pod's lock, too, when it has let go of its end of this.
    let Ok((mut held, holder)) = std::io::pipe() else { return };
    // SAFETY: as of any child.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => {
            // What cannot be let go of keeps the work from nothing.
            let _ = rustix::process::setsid();
            let _ = close_range(0, RawFd::MAX);
            let _ = rustix::process::chdir("/");
            work();
            leave()
        }
        Ok(ForkResult::Parent { .. }) => {
            drop(holder);
            // The end of it, whatever kind of end.
            let _ = held.read(&mut [0]);
        }
        Err(_) => {}
    }
}

/// Cuts the child off from the supervisor's terminal, signals and descriptors.
fn detach(null: &File, keep: &mut [RawFd]) -> Result<(), std::io::Error> {
    rustix::process::setsid()?;
    dup2_stdin(null)?;
    dup2_stdout(null)?;
    dup2_stderr(null)?;
    SigSet::empty().thread_set_mask()?;
    keep.sort_unstable();
    let mut first = 0;
    for &kept in keep.iter() {
        close_range(first, kept.saturating_sub(1))?;
        first = kept.saturating_add(1);
    }
    close_range(first, RawFd::MAX)?;
    die_with_supervisor()
}

/// Has the kernel kill this child when the supervisor ends; fails if it has ended. To be called again by a child that becomes another
/// user.
pub fn die_with_supervisor() -> Result<(), std::io::Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent beyond a PID name space has no number here that could change. It alone reads reports.
    // SAFETY: a child's reporting pipe stays open until the process ends.
    let reporter = unsafe { BorrowedFd::borrow_raw(PANIC_REPORT.load(Ordering::Relaxed)) };
    let mut reporter = [PollFd::new(&reporter, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut reporter, Some(&now))? {
        0 => Ok(()),
        _ => Err(rustix::io::Errno::SRCH.into()),
    }
}

/// Has the next child begin a PID name space. Returns the one of this process, which it has to come back to after that.
fn prepare_pid_namespace() -> Result<OwnedFd, std::io::Error> {
    let home = File::open("/proc/self/ns/pid")?;
    // SAFETY: only CLONE_FILES, which is not among the flags, invalidates descriptors that others hold.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID) }?;
    Ok(home.into())
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), std::io::Error> {
    if first > last {
        return Ok(());
    }
    // SAFETY: closes descriptors of values that this child inherited and never uses or drops: it leaves with `_exit`.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Where a panic of this process is reported; -1 in the supervisor, whose panics are printed.
static PANIC_REPORT: AtomicI32 = AtomicI32::new(-1);

/// Makes panics of children part of their reports. Called once, before the first child: in a child it would be too late,
/// because std's lock around the hook is nothing to touch after a fork.
pub fn report_panics_of_children() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let number = PANIC_REPORT.load(Ordering::Relaxed);
        if number < 0 {
            return print(panic);
        }
        if let Ok(frame) = encode(&Report::<()>::Panicked(panic.to_string())) {
            // SAFETY: a child's reporting pipe stays open until the process ends.
            let reporter = unsafe { BorrowedFd::borrow_raw(number) };
            // Nobody is left to tell that even this failed.
            let _ = rustix::io::write(reporter, &frame);
        }
    }));
}

/// Tells the supervisor about walls around this child that the host lacks.
pub fn tell_missing(walls: Vec<String>) {
    if let Ok(frame) = encode(&Report::<()>::Missing(walls)) {
        // SAFETY: a child's reporting pipe stays open until the process ends.
        let reporter = unsafe { BorrowedFd::borrow_raw(PANIC_REPORT.load(Ordering::Relaxed)) };
        // Nobody is left to tell that even this failed.
        let _ = rustix::io::write(reporter, &frame);
    }
}

fn send<R: Serialize>(reporter: &mut std::io::PipeWriter, report: &Report<R>) {
    if let Ok(frame) = encode(report) {
        // Nobody is left to tell that even this failed; the supervisor sees a silent end.
        let _ = reporter.write_all(&frame);
    }
}

/// Whether this process was started with the signal ignored, or came to ignore it.
pub fn ignores(signal: nix::sys::signal::Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one, to a structure that outlives it.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all zeroes are a valid value of the structure, and so is what the call wrote.
    let action = unsafe { action.assume_init() };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Ends the child without running destructors or exit handlers, which belong to the supervisor.
fn leave() -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(0) }
}

/// Fields 14 and 15 of /proc/PID/stat. The second field, a name in parentheses, may contain anything.
fn used_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(ticks()?.checked_add(ticks()?)?.checked_mul(1000 / TICKS_PER_SECOND)?))
}

impl Child {
    /// Readable when the process has ended.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let mut descriptor = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut descriptor, Some(&now)), Ok(1..))
    }

    /// Processor time it has used so far, all of its threads together, a virtual CPU's time in the guest included. `None`
    /// if /proc does not tell.
    pub fn processor_time(&self) -> Option<Duration> {
        // Until it is waited for, which takes this value, nobody else gets its PID.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).ok()?;
        used_time(&stat)
    }

    /// Kills it. It may have ended before.
    pub fn kill(&self) -> Result<(), ProcessError> {
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(ProcessError { name: self.name, doing: "kill", cause: errno.into() }),
        }
    }

    /// Walls around it that this host lacks, as far as it has told.
    pub fn missing(&self) -> Vec<String> {
        let mut said = self.said.borrow_mut();
        let mut waiting = [PollFd::new(&self.report, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut piece = [0; 512];
        while matches!(rustix::event::poll(&mut waiting, Some(&now)), Ok(1..)) {
            match (&self.report).read(&mut piece) {
                Ok(count @ 1..) => said.extend(piece.iter().take(count)),
                // It has ended, which is noticed elsewhere.
                Ok(0) | Err(_) => break,
            }
        }
        let mut missing = Vec::new();
        if self.sees_others {
            missing.push("a PID name space".to_owned());
        }
        let mut frames = FrameBuffer::new();
        frames.push(&said);
        if let Ok(Some(Report::Missing(walls))) = frames.next_message::<Report<()>>() {
            missing.extend(walls);
        }
        missing
    }

    /// Waits until it has ended and is reaped, and reads what it reported.
    pub fn wait<R: DeserializeOwned>(self) -> Result<End<R>, ProcessError> {
        let failed = |cause| ProcessError { name: self.name, doing: "wait for", cause };
        let status = loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|errno| failed(errno.into()))?,
            }
        };
        let mut bytes = self.said.take();
        (&self.report).read_to_end(&mut bytes).map_err(failed)?;
        let mut frames = FrameBuffer::new();
        frames.push(&bytes);
        while let Ok(Some(report)) = frames.next_message::<Report<R>>() {
            return Ok(match report {
                Report::Missing(_) => continue,
                Report::Done(result) => End::Done(result),
                Report::Panicked(message) => End::Panicked(message),
                Report::Refused(refusal) => End::Refused(refusal),
            });
        }
        Ok(match status.and_then(|status| status.terminating_signal()) {
            Some(signal) => End::Killed(signal),
            None => End::Silent,
        })
    }
}

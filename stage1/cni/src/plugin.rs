//! One run of one plugin.
//!
//! Responsible for: finding the executable, running it within limits of time and output, and saying what went wrong. Must
//! not know: chains, results or networks. Follows "Section 2: Execution Protocol" of the specification, and rkt-reference
//! 6.7 for the search and the environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde::Deserialize;

use crate::result::ResultError;

/// How long a plugin may take. The slowest of the reference plugins, dhcp, gives up by itself before.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The most that is taken from a plugin: results are below 10 kB, and all of it is held in memory.
pub const MOST_OUTPUT: usize = 1 << 20;

/// What is kept of a plugin's stderr: enough for the head of a Go panic.
const MOST_STDERR: usize = 4096;

/// What an error quotes of a plugin's words.
const LONGEST_QUOTE: usize = 1000;

/// One word of an interrupt: a signal, as signalfd(2) has it.
const INTERRUPT_BYTES: usize = 128;

/// The size of one read.
const CHUNK: usize = 64 << 10;

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect the container.
    Add,
    /// Disconnect it.
    Del,
    /// Tell whether it is still connected.
    Check,
    /// Release what belongs to no attachment.
    Gc,
    /// Tell whether ADD would work.
    Status,
    /// Tell which versions it speaks.
    Version,
}

impl Command {
    /// `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a plugin said was wrong, or what happened to it.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It could not be started or listened to.
    #[error("cannot run {}", path.display())]
    Run {
        /// The executable.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It reported an error.
    #[error("{message}")]
    Reported {
        /// Its code: below 100 the specification's, else the plugin's own.
        code: u32,
        /// Its `msg` and, behind a semicolon, its `details`.
        message: String,
    },
    /// It exited with an error and no report.
    #[error("it exited with status {status}{}", saying(.output))]
    Exit {
        /// The exit status.
        status: i32,
        /// What it printed instead of a report.
        output: String,
    },
    /// A signal ended it.
    #[error("it was killed by signal {signal}{}", saying(.output))]
    Signal {
        /// The signal.
        signal: i32,
        /// What it printed before.
        output: String,
    },
    /// It took too long.
    #[error("it had not finished after {} s and was killed{}", limit.as_secs_f64(), saying(.output))]
    TimeLimit {
        /// How long it may take.
        limit: Duration,
        /// What it printed before.
        output: String,
    },
    /// Whoever waited for it does not want to any more.
    #[error("it had not finished when a signal asked for an end, and was killed{}", saying(.output))]
    Interrupted {
        /// What it printed before.
        output: String,
    },
    /// It printed too much.
    #[error("it printed more than 1 MiB and was killed")]
    TooMuchOutput,
    /// It printed nothing where a result must be.
    #[error("it printed no result")]
    NoResult,
    /// It printed something that is no result.
    #[error("it printed {output:?}, which is no result")]
    Nonsense {
        /// The head of it.
        output: String,
        /// What is wrong with it.
        #[source]
        cause: ResultError,
    },
    /// It answered VERSION with something else.
    #[error("it printed {output:?}, which is no list of versions")]
    NoVersions {
        /// The head of it.
        output: String,
    },
}

/// A report of an error, as the specification has it.
#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: Option<String>,
}

/// One run to be done.
pub(crate) struct Run<'a> {
    pub(crate) executable: &'a Path,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// The configuration, at its beginning; a file, so that nobody must feed a plugin that does not read.
    pub(crate) stdin: File,
    pub(crate) limit: Duration,
    /// What is asked for an end of waiting ([`crate::Client::with_interrupt`]).
    pub(crate) interrupt: Option<&'a File>,
}

/// The first regular, executable file of that name.
pub fn find(kind: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(kind)).find(|path| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// `CNI_PATH`.
pub(crate) fn search_path(directories: &[PathBuf]) -> OsString {
    let directories: Vec<&OsStr> = directories.iter().map(|directory| directory.as_os_str()).collect();
    directories.join(OsStr::new(":"))
}

/// Runs a plugin to its end; returns what it printed.
pub(crate) fn run(run: Run<'_>) -> Result<Vec<u8>, PluginError> {
    let failed = |cause| PluginError::Run { path: run.executable.to_owned(), cause };
    let mut child = process::Command::new(run.executable)
        .envs(run.environment)
        .stdin(run.stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that whatever it started can be killed with it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let end = watch(&mut child, run.limit, run.interrupt);
    if !matches!(end, Ok(End { reason: Reason::Exited, .. })) {
        kill(&child);
    }
    let status = child.wait().map_err(failed)?;
    let End { reason, stdout, stderr } = end.map_err(failed)?;
    let output = quote(if stderr.is_empty() { &stdout } else { &stderr });
    match reason {
        Reason::TimeLimit => Err(PluginError::TimeLimit { limit: run.limit, output }),
        Reason::Interrupted => Err(PluginError::Interrupted { output }),
        Reason::TooMuchOutput => Err(PluginError::TooMuchOutput),
        Reason::Exited => judge(status, stdout, output),
    }
}

/// What a finished run amounts to.
fn judge(status: ExitStatus, stdout: Vec<u8>, output: String) -> Result<Vec<u8>, PluginError> {
    if let Some(signal) = status.signal() {
        return Err(PluginError::Signal { signal, output });
    }
    let report = serde_json::from_slice::<Report>(&stdout)
        .ok()
        .filter(|report| !report.msg.is_empty() && (report.code != 0 || !status.success()));
    if let Some(Report { code, msg, details }) = report {
        let message = match details.filter(|details| !details.is_empty()) {
            Some(details) => format!("{}; {}", quote(msg.as_bytes()), quote(details.as_bytes())),
            None => quote(msg.as_bytes()),
        };
        return Err(PluginError::Reported { code, message });
    }
    match status.code() {
        Some(0) => Ok(stdout),
        code => Err(PluginError::Exit { status: code.unwrap_or_default(), output }),
    }
}

enum Reason {
    Exited,
    Interrupted,
    TimeLimit,
    TooMuchOutput,
}

struct End {
    reason: Reason,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Reads what the child prints until it exits or breaks a limit. What it leaves running in the background may keep the
/// pipes open, so their end is not waited for.
fn watch(child: &mut Child, limit: Duration, interrupt: Option<&File>) -> io::Result<End> {
    let deadline = Instant::now() + limit;
    let exited = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdout = Stream::new(child.stdout.take(), MOST_OUTPUT + 1)?;
    let mut stderr = Stream::new(child.stderr.take(), MOST_STDERR)?;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let reason = if stdout.kept.len() > MOST_OUTPUT {
            Some(Reason::TooMuchOutput)
        } else if rest.is_zero() {
            Some(Reason::TimeLimit)
        } else {
            match wait(&exited, &stdout, &stderr, interrupt, rest)? {
                Woken::Exited => {
                    // All that it printed is in the pipes now.
                    while stdout.read()? && stdout.kept.len() <= MOST_OUTPUT {}
                    stderr.read()?;
                    let too_much = stdout.kept.len() > MOST_OUTPUT;
                    Some(if too_much { Reason::TooMuchOutput } else { Reason::Exited })
                }
                Woken::Interrupted => Some(Reason::Interrupted),
                Woken::Other => None,
            }
        };
        if let Some(reason) = reason {
            return Ok(End { reason, stdout: stdout.kept, stderr: stderr.kept });
        }
        stdout.read()?;
        stderr.read()?;
    }
}

/// What waiting came to.
enum Woken {
    Exited,
    /// The interrupt's word was taken.
    Interrupted,
    /// There is something to read, or the time is over.
    Other,
}

/// Waits until there is something to read, or `rest` is over. A child that has exited is not interrupted any more.
fn wait<F: AsFd, A: AsFd, B: AsFd>(
    exited: &F,
    stdout: &Stream<A>,
    stderr: &Stream<B>,
    interrupt: Option<&File>,
    rest: Duration,
) -> io::Result<Woken> {
    let mut descriptors = vec![PollFd::new(exited, PollFlags::IN)];
    descriptors.extend(stdout.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    descriptors.extend(stderr.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    descriptors.extend(interrupt.map(|interrupt| PollFd::new(interrupt, PollFlags::IN)));
    let timeout = Timespec::try_from(rest).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Woken::Other),
        Err(error) => return Err(error.into()),
    }
    let is_ready = |descriptor: Option<&PollFd<'_>>| descriptor.is_some_and(|it| !it.revents().is_empty());
    if is_ready(descriptors.first()) {
        return Ok(Woken::Exited);
    }
    match interrupt {
        Some(mut interrupt) if is_ready(descriptors.last()) => {
            // Another one interrupts what comes next.
            let _ = interrupt.read(&mut [0; INTERRUPT_BYTES])?;
            Ok(Woken::Interrupted)
        }
        _ => Ok(Woken::Other),
    }
}

/// One of the child's pipes, until its end.
struct Stream<P> {
    pipe: Option<P>,
    kept: Vec<u8>,
    most: usize,
}

impl<P: Read + AsFd> Stream<P> {
    fn new(pipe: Option<P>, most: usize) -> io::Result<Stream<P>> {
        if let Some(pipe) = &pipe {
            let flags = fcntl_getfl(pipe)?;
            fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        Ok(Stream { pipe, kept: Vec::new(), most })
    }

    /// Reads what is there, once; false if nothing was. What is over the most is dropped.
    fn read(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(false) };
        let mut chunk = vec![0; CHUNK];
        match pipe.read(&mut chunk) {
            Ok(0) => {
                self.pipe = None;
                Ok(false)
            }
            Ok(count) => {
                let room = self.most - self.kept.len();
                self.kept.extend(chunk.iter().take(count.min(room)));
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Kills the child and what it started. It is not waited for yet, so its ID cannot be another's.
fn kill(child: &Child) {
    // An error means that it is gone already.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// A plugin's words for a terminal: one line, no control characters, not too long.
pub(crate) fn quote(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let mut quoted = String::new();
    for character in text.trim().chars() {
        if quoted.len() >= LONGEST_QUOTE {
            quoted.push('…');
            break;
        }
        match character {
            '\n' | '\t' => quoted.push(' '),
            other if other.is_control() => quoted.extend(other.escape_default()),
            other => quoted.push(other),
        }
    }
    quoted
}

fn saying(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(", saying: {output}") }
}

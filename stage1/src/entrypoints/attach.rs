//! `attach`: connects the caller's standard streams with those of an app that runs, or says which there are.
//!
//! Responsible for: the caller's side of it, its terminal, its end. Must not know: who else is attached. Follows rkt-reference
//! 4.7, 7.5 and 7.6, docs/attach.md.

#[cfg(test)]
mod attach_test;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guest_api::{MAX_OUTPUT_BYTES, StdioStream};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::termios::isatty;
use serde::Serialize;

use crate::attachments::directory::{self, Directory, Endpoints};
use crate::control_socket::client::PodProcess;
use crate::control_socket::connection::Connection;
use crate::control_socket::protocol::{Reply, Request};
use crate::error::EntrypointError;
use crate::escapes::{Escapes, Keys};
use crate::exit::ExitCode;
use crate::flags::{AttachAction, AttachFlags};
use crate::signals;
use crate::sink::Sink;
use crate::terminal::{self, RawMode};

/// The process that runs the pod.
const PID_VARIABLE: &str = "RKT_STAGE1_ENTERPID";

/// Bytes of input read at once.
const INPUT_BYTES: usize = 16 * 1024;

/// How long the other outputs have to end when one has. An app's outputs end together; one that it closed alone ends the
/// attachment, as in rkt.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What ends an attachment or is about its terminal.
const SIGNALS: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGCONT];

/// Why nothing could be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// stage0 names it.
    #[error("{PID_VARIABLE} is not set to the number of a process: stage1 is started by rkt, not by hand")]
    NoPid,
    /// The app has no stream of this kind, or does not run.
    #[error(
        "app {0:?} has nothing to attach to (its streams are neither \"stream\" nor \"tty\", or it has not started)"
    )]
    NoEndpoints(String),
    /// The app has others.
    #[error("app {app:?} has no endpoint {endpoint:?} (it has {there})")]
    NoEndpoint {
        /// The app.
        app: String,
        /// What was wanted.
        endpoint: &'static str,
        /// What there is.
        there: String,
    },
    /// What is written there cannot be read.
    #[error("cannot read the endpoints of app {app:?}")]
    Endpoints {
        /// The app.
        app: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Nobody listens.
    #[error("cannot connect to endpoint {endpoint:?} of app {app:?}")]
    Connect {
        /// The app.
        app: String,
        /// The endpoint.
        endpoint: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Somebody else listens.
    #[error("endpoint {0:?} does not belong to the pod's process")]
    Stranger(&'static str),
    /// Signals could not be taken.
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    /// The terminal is none any more.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Nobody takes the output.
    #[error("cannot write the app's output")]
    Output(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for the app")]
    Wait(#[source] io::Error),
}

/// Attaches, or lists.
pub fn run(flags: &AttachFlags) -> Result<ExitCode, EntrypointError> {
    let app = flags.app.clone();
    let directory = Directory::open(&directory::root(), &flags.app);
    let endpoints = directory.and_then(|directory| Ok((directory.endpoints()?, directory)));
    let (endpoints, directory) = endpoints.map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => AttachError::NoEndpoints(app),
        _ => AttachError::Endpoints { app, cause },
    })?;
    let Some(wanted) = Wanted::of(flags, &endpoints)? else {
        return Ok(list(&endpoints).map(|()| ExitCode::SUCCESS).map_err(AttachError::Output)?);
    };
    let pod = std::env::var(PID_VARIABLE).ok().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
    let pod = pod.ok_or(AttachError::NoPid)?;
    let process = PodProcess::find(pod)?;
    let connect = |wanted: bool, endpoint: &'static str| {
        wanted.then(|| connect(&directory, pod, &flags.app, endpoint)).transpose()
    };
    let tty = connect(wanted.tty_in || wanted.tty_out, "tty")?;
    let stdin = io::stdin();
    let has_terminal = wanted.tty_in && isatty(&stdin);
    let control = if has_terminal { Some(process.connect()?) } else { None };
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut connections = Vec::new();
    connections.extend(connect(wanted.stdout, "stdout")?.map(|it| (it, Some(StdioStream::Stdout))));
    connections.extend(connect(wanted.stderr, "stderr")?.map(|it| (it, Some(StdioStream::Stderr))));
    let to_app = match (tty, connect(wanted.stdin, "stdin")?) {
        (Some(tty), _) => {
            let to_app = wanted.tty_in.then(|| tty.try_clone()).transpose().map_err(AttachError::Wait)?;
            connections.push((tty, wanted.tty_out.then_some(StdioStream::Stdout)));
            to_app
        }
        (None, stdin) => {
            let clone = stdin.as_ref().map(UnixStream::try_clone).transpose().map_err(AttachError::Wait)?;
            // What the pod closes when it has taken all of the input.
            connections.extend(stdin.filter(|_| !wanted.has_output()).map(|it| (it, None)));
            clone
        }
    };
    let attached = Attached {
        app: flags.app.clone(),
        signals: signals::take(SIGNALS).map_err(AttachError::Signals)?,
        stdin: stdin.as_fd(),
        raw: None,
        escapes: Escapes::default(),
        to_app: to_app.map(|stream| ToApp { stream, waiting: Vec::new(), finished: false }),
        ended_input: None,
        from_app: connections.into_iter().map(|(stream, output)| FromApp { stream, output }).collect(),
        stdout: Sink::new(stdout.as_fd()),
        stderr: Sink::new(stderr.as_fd()),
        control,
        ends_at: None,
    };
    Ok(attached.run(has_terminal)?)
}

/// What to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    tty_in: bool,
    tty_out: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Wanted {
    /// None to list only.
    fn of(flags: &AttachFlags, there: &Endpoints) -> Result<Option<Self>, AttachError> {
        let wanted = match flags.action {
            AttachAction::List => return Ok(None),
            AttachAction::Auto => Self {
                tty_in: there.has("tty"),
                tty_out: there.has("tty"),
                // Whoever has no input wants to look on, not to end the app's.
                stdin: there.has("stdin") && !there.has("tty") && !is_null(io::stdin().as_fd()),
                stdout: there.has("stdout"),
                stderr: there.has("stderr"),
            },
            AttachAction::Custom => Self {
                tty_in: flags.tty_in,
                tty_out: flags.tty_out,
                stdin: flags.stdin,
                stdout: flags.stdout,
                stderr: flags.stderr,
            },
        };
        let Self { tty_in, tty_out, stdin, stdout, stderr } = wanted;
        let needs = [(tty_in || tty_out, "tty"), (stdin, "stdin"), (stdout, "stdout"), (stderr, "stderr")];
        match needs.into_iter().find(|(wanted, endpoint)| *wanted && !there.has(endpoint)) {
            None => Ok(Some(wanted)),
            Some((_, endpoint)) => {
                let names: Vec<&str> = there.targets.iter().map(|target| target.name.as_str()).collect();
                let there = names.join(", ");
                Err(AttachError::NoEndpoint { app: flags.app.clone(), endpoint, there })
            }
        }
    }

    fn has_output(self) -> bool {
        self.tty_out || self.stdout || self.stderr
    }
}

/// Whether it is /dev/null.
fn is_null(descriptor: BorrowedFd<'_>) -> bool {
    let null = std::fs::metadata("/dev/null").ok().filter(|null| null.file_type().is_char_device());
    let ours = rustix::fs::fstat(descriptor).ok();
    null.zip(ours).is_some_and(|(null, ours)| {
        std::os::unix::fs::MetadataExt::rdev(&null) == ours.st_rdev && ours.st_rdev != 0
    })
}

fn list(endpoints: &Endpoints) -> io::Result<()> {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    endpoints.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indent))?;
    text.push(b'\n');
    io::stdout().write_all(&text)
}

fn connect(
    directory: &Directory,
    pod: Pid,
    app: &str,
    endpoint: &'static str,
) -> Result<UnixStream, AttachError> {
    let failed = |cause| AttachError::Connect { app: app.to_owned(), endpoint, cause };
    let stream = directory.connect(endpoint).map_err(failed)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|errno| failed(errno.into()))?;
    if peer.pid != pod {
        return Err(AttachError::Stranger(endpoint));
    }
    stream.set_nonblocking(true).map_err(failed)?;
    Ok(stream)
}

struct ToApp {
    stream: UnixStream,
    waiting: Vec<u8>,
    /// Standard input has ended.
    finished: bool,
}

struct FromApp {
    stream: UnixStream,
    /// Where it goes; only its end counts if nowhere.
    output: Option<StdioStream>,
}

struct Attached<'fd> {
    app: String,
    signals: SignalFd,
    stdin: BorrowedFd<'fd>,
    raw: Option<RawMode<'fd>>,
    escapes: Escapes,
    to_app: Option<ToApp>,
    /// Where the input went until it ended. Closed at once, it would look to the supervisor like a caller that has vanished, whose end is
    /// not the input's, if it looks only after both.
    ended_input: Option<UnixStream>,
    from_app: Vec<FromApp>,
    stdout: Sink<'fd, ()>,
    stderr: Sink<'fd, ()>,
    /// For the terminal's size.
    control: Option<Connection<Reply>>,
    /// An output has ended.
    ends_at: Option<Instant>,
}

impl Attached<'_> {
    fn run(mut self, has_terminal: bool) -> Result<ExitCode, AttachError> {
        if has_terminal {
            let raw = RawMode::enter(self.stdin).map_err(|errno| AttachError::Terminal(errno.into()))?;
            self.raw = Some(raw);
            self.resize();
        }
        loop {
            let written = self.stdout.is_empty() && self.stderr.is_empty();
            let late = self.ends_at.is_some_and(|at| Instant::now() >= at);
            // A reader of ours that is slow loses nothing of what has come.
            if self.ends_at.is_some() && written && (self.from_app.is_empty() || (late && !self.has_unread()))
            {
                return Ok(ExitCode::SUCCESS);
            }
            self.wait()?;
            if let Some(code) = self.take_signals()? {
                return Ok(code);
            }
            if let Some(code) = self.read_input()? {
                return Ok(code);
            }
            self.write_input();
            self.read_output()?;
            match self.write_output() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ended_by(Signal::SIGPIPE));
                }
                other => other.map_err(AttachError::Output)?,
            }
        }
    }

    /// Whether something of an output can be read without waiting.
    fn has_unread(&self) -> bool {
        let outputs = self.from_app.iter().filter(|it| it.output.is_some());
        outputs.into_iter().any(|it| is_readable(it.stream.as_fd()))
    }

    /// Waits for whatever can be gone on with. What is read next has nowhere to wait, so it has to wait where it is.
    fn wait(&self) -> Result<(), AttachError> {
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        if let Some(to_app) = &self.to_app {
            if to_app.waiting.is_empty() {
                descriptors.push(PollFd::from_borrowed_fd(self.stdin, PollFlags::IN));
            } else {
                descriptors.push(PollFd::new(&to_app.stream, PollFlags::OUT));
            }
        }
        for from_app in &self.from_app {
            if self.has_room(from_app.output) {
                descriptors.push(PollFd::new(&from_app.stream, PollFlags::IN));
            }
        }
        for sink in [&self.stdout, &self.stderr].into_iter().filter(|sink| !sink.is_empty()) {
            descriptors.push(PollFd::from_borrowed_fd(sink.descriptor(), PollFlags::OUT));
        }
        let left = self.ends_at.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(AttachError::Wait(errno.into())),
        }
    }

    fn has_room(&self, output: Option<StdioStream>) -> bool {
        match output {
            Some(StdioStream::Stdout) => self.stdout.is_empty(),
            Some(StdioStream::Stderr) => self.stderr.is_empty(),
            None => true,
        }
    }

    /// A code ends the attachment, and nothing else.
    fn take_signals(&mut self) -> Result<Option<ExitCode>, AttachError> {
        while let Some(signal) = signals::next(&self.signals).map_err(AttachError::Signals)? {
            match signal {
                Signal::SIGWINCH => self.resize(),
                Signal::SIGCONT => {
                    if let Some(raw) = &self.raw {
                        raw.renew().map_err(|errno| AttachError::Terminal(errno.into()))?;
                    }
                    self.resize();
                }
                other => return Ok(Some(ended_by(other))),
            }
        }
        Ok(None)
    }

    /// Tells the app's terminal the size of ours. A pod that cannot be told is about to end.
    fn resize(&mut self) {
        if let Some(control) = &mut self.control {
            let size = terminal::window_size(self.stdin);
            let _ = control.send(&Request::ResizeApp { app: self.app.clone(), size });
            let _ = control.flush();
        }
    }

    /// Reads what the app has room for. A code ends it here: the user has seen enough.
    fn read_input(&mut self) -> Result<Option<ExitCode>, AttachError> {
        let Some(to_app) = self.to_app.as_mut().filter(|it| it.waiting.is_empty()) else { return Ok(None) };
        if !is_readable(self.stdin) {
            return Ok(None);
        }
        let mut data = vec![0; INPUT_BYTES];
        match rustix::io::read(self.stdin, data.as_mut_slice()) {
            // A terminal that is gone.
            Ok(0) | Err(Errno::IO) if self.raw.is_some() => return Ok(Some(ended_by(Signal::SIGHUP))),
            Ok(0) => to_app.finished = true,
            Ok(count) => {
                data.truncate(count);
                if self.raw.is_some() {
                    match self.escapes.feed(&data, Instant::now()) {
                        Keys::End => return Ok(Some(ExitCode::SUCCESS)),
                        Keys::Pass(passed) => data = passed,
                    }
                }
                to_app.waiting = data;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(AttachError::Input(errno.into())),
        }
        Ok(None)
    }

    fn write_input(&mut self) {
        let Some(to_app) = &mut self.to_app else { return };
        while !to_app.waiting.is_empty() {
            match to_app.stream.write(&to_app.waiting) {
                Ok(count) => drop(to_app.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The app takes nothing any more; its outputs may have more to say.
                Err(_) => {
                    self.to_app = None;
                    return;
                }
            }
        }
        if to_app.finished {
            // A terminal's other direction stays open.
            let _ = to_app.stream.shutdown(std::net::Shutdown::Write);
            self.ended_input = self.to_app.take().map(|to_app| to_app.stream);
        }
    }

    fn read_output(&mut self) -> Result<(), AttachError> {
        let mut ended = false;
        let mut left = Vec::new();
        for mut from_app in std::mem::take(&mut self.from_app) {
            let mut is_over = false;
            if self.has_room(from_app.output) {
                let mut data = vec![0; MAX_OUTPUT_BYTES];
                match from_app.stream.read(&mut data) {
                    Ok(0) => is_over = true,
                    Ok(count) => {
                        data.truncate(count);
                        match from_app.output {
                            Some(StdioStream::Stdout) => self.stdout.push_bytes(&data, ()),
                            Some(StdioStream::Stderr) => self.stderr.push_bytes(&data, ()),
                            None => {}
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => is_over = true,
                }
            }
            ended |= is_over;
            if !is_over {
                left.push(from_app);
            }
        }
        self.from_app = left;
        if ended && self.ends_at.is_none() {
            self.ends_at = Instant::now().checked_add(LAST_WORDS);
        }
        Ok(())
    }

    fn write_output(&mut self) -> io::Result<()> {
        for sink in [&mut self.stdout, &mut self.stderr] {
            if let (_, Some(error)) = sink.flush() {
                return Err(error);
            }
        }
        Ok(())
    }
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut descriptors, Some(&at_once)).is_ok_and(|count| count > 0)
}

fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::of_signal(u8::try_from(signal as i32).unwrap_or_default())
}

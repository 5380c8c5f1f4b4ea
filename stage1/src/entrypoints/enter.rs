//! `enter`: runs a command in an app of a pod that runs.
//!
//! Responsible for: the caller's side of it, terminal or pipes, signals, the exit code. Must not know: what passes between the
//! supervisor and the guest. Follows rkt-reference 4.4; docs/compatibility.md for exit codes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use guest_api::{AppExit, INITIAL_CREDIT_BYTES, INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES, StdioStream};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::control_socket::client::{ClientError, PodProcess};
use crate::control_socket::connection::{Connection, ConnectionError};
use crate::control_socket::protocol::{ExecRequest, Reply, Request};
use crate::error::EntrypointError;
use crate::exit::ExitCode;
use crate::flags::EnterFlags;
use crate::sink::Sink;
use crate::terminal::{self, RawMode};
use crate::{process, signals};

/// Credit is granted in steps, so that a line costs no message back.
const CREDIT_STEP_BYTES: u32 = INITIAL_CREDIT_BYTES / 4;

/// What is passed on to the command; a terminal adds its own.
const SIGNALS: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// Why a command could not be run, or how its end could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The pod says why.
    #[error("{0}")]
    Refused(String),
    /// The pod is gone, and the command with it.
    #[error("the pod has ended")]
    PodEnded,
    /// Signals could not be taken.
    #[error("cannot take signals")]
    Signals(#[source] io::Error),
    /// The terminal is none any more.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Nobody takes the command's output.
    #[error("cannot write the command's output")]
    Output(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for the command")]
    Wait(#[source] io::Error),
}

/// Runs the command and ends as it does.
pub fn run(flags: EnterFlags) -> Result<ExitCode, EntrypointError> {
    let pod = PodProcess::find(flags.pid)?;
    let mut connection = pod.connect()?;
    // A signal that the caller has ignored (nohup(1), a background job) is none of ours.
    let wanted = SIGNALS.into_iter().filter(|signal| !process::ignores(*signal));
    let signals = signals::take(wanted).map_err(EnterError::Signals)?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let (stdin, stdout, stderr) = (stdin.as_fd(), stdout.as_fd(), stderr.as_fd());
    let terminal = terminal::of_caller().map(|terminal| terminal.size);
    let request =
        ExecRequest { app: flags.app, command: flags.command, terminal, terminal_type: terminal::kind() };
    connection.send(&Request::Exec(request)).map_err(ClientError::Connection)?;
    let enter = Enter {
        connection,
        signals,
        stdin,
        raw: None,
        interactive: terminal.is_some(),
        phase: Phase::Asked,
        input_credit: INITIAL_INPUT_CREDIT_BYTES,
        input_open: true,
        stdout: Output::new(stdout),
        stderr: Output::new(stderr),
    };
    Ok(enter.run()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The pod has not said yet whether the command runs.
    Asked,
    Running,
    /// It has ended; what it wrote is on its way.
    Ended(ExitCode),
}

/// One of our own outputs and the credit for it.
#[derive(Debug)]
struct Output<'fd> {
    /// Each piece carries its length.
    sink: Sink<'fd, u32>,
    /// Bytes written but not granted yet.
    earned: u32,
}

impl<'fd> Output<'fd> {
    fn new(descriptor: BorrowedFd<'fd>) -> Self {
        Self { sink: Sink::new(descriptor), earned: 0 }
    }

    /// Writes what the reader takes; returns credit when there is enough of it.
    fn flush(&mut self) -> io::Result<Option<u32>> {
        let (written, error) = self.sink.flush();
        if let Some(error) = error {
            return Err(error);
        }
        self.earned = written.into_iter().fold(self.earned, u32::saturating_add);
        Ok((self.earned >= CREDIT_STEP_BYTES).then(|| std::mem::take(&mut self.earned)))
    }
}

struct Enter<'fd> {
    connection: Connection<Reply>,
    signals: SignalFd,
    stdin: BorrowedFd<'fd>,
    /// While the command runs on the caller's terminal.
    raw: Option<RawMode<'fd>>,
    interactive: bool,
    phase: Phase,
    input_credit: u32,
    input_open: bool,
    stdout: Output<'fd>,
    stderr: Output<'fd>,
}

/// What the loop woke up for.
#[derive(Debug, Default)]
struct Ready {
    connection: bool,
    signals: bool,
    input: bool,
}

impl Enter<'_> {
    /// To the command's end, with everything it wrote. Whoever returns earlier closes the connection, which hangs the command up.
    fn run(mut self) -> Result<ExitCode, EnterError> {
        loop {
            if let Phase::Ended(code) = self.phase
                && self.stdout.sink.is_empty()
                && self.stderr.sink.is_empty()
            {
                return Ok(code);
            }
            let ready = self.wait()?;
            if ready.signals
                && let Some(code) = self.take_signals()?
            {
                return Ok(code);
            }
            if ready.connection {
                self.receive()?;
            }
            if ready.input
                && let Some(code) = self.read_input()?
            {
                return Ok(code);
            }
            match self.write_output() {
                Ok(()) => {}
                // Whoever reads has seen enough: that ends a program, whether it catches the signal or not.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ended_by(Signal::SIGPIPE));
                }
                Err(error) => return Err(EnterError::Output(error)),
            }
            self.connection.flush().map_err(broken)?;
        }
    }

    fn wait(&self) -> Result<Ready, EnterError> {
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let has_ended = matches!(self.phase, Phase::Ended(_));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !has_ended);
        flags.set(PollFlags::OUT, self.connection.has_outgoing() && !has_ended);
        let connection = (!flags.is_empty()).then(|| {
            descriptors.push(PollFd::from_borrowed_fd(self.connection.descriptor(), flags));
            descriptors.len() - 1
        });
        // What was read waits in the connection's buffer, so nothing is read while that is not out.
        let reads = self.phase == Phase::Running
            && self.input_open
            && self.input_credit > 0
            && !self.connection.has_outgoing();
        let input = reads.then(|| {
            descriptors.push(PollFd::from_borrowed_fd(self.stdin, PollFlags::IN));
            descriptors.len() - 1
        });
        for output in [&self.stdout, &self.stderr] {
            if !output.sink.is_empty() {
                descriptors.push(PollFd::from_borrowed_fd(output.sink.descriptor(), PollFlags::OUT));
            }
        }
        match rustix::event::poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(EnterError::Wait(errno.into())),
        }
        let woken = |index: usize| descriptors.get(index).is_some_and(|it| !it.revents().is_empty());
        Ok(Ready {
            signals: woken(0),
            connection: connection.is_some_and(woken),
            input: input.is_some_and(woken),
        })
    }

    /// Passes signals on. A code ends it here: nobody is left to pass something on to, or to look at a terminal.
    fn take_signals(&mut self) -> Result<Option<ExitCode>, EnterError> {
        while let Some(signal) = signals::next(&self.signals).map_err(EnterError::Signals)? {
            match (signal, self.phase) {
                (Signal::SIGWINCH, Phase::Running) if self.interactive => self.resize()?,
                (Signal::SIGCONT, Phase::Running) if self.interactive => {
                    if let Some(raw) = &self.raw {
                        raw.renew().map_err(|errno| EnterError::Terminal(errno.into()))?;
                    }
                    self.resize()?;
                }
                (Signal::SIGWINCH | Signal::SIGCONT, _) => {}
                (Signal::SIGHUP, Phase::Running) if self.interactive => return Ok(Some(ended_by(signal))),
                (_, Phase::Running) => self.send(&Request::Signal(number(signal)))?,
                (_, Phase::Asked) => return Ok(Some(ended_by(signal))),
                // Nobody waits for a reader that does not read.
                (_, Phase::Ended(code)) => return Ok(Some(code)),
            }
        }
        Ok(None)
    }

    fn resize(&mut self) -> Result<(), EnterError> {
        self.send(&Request::Resize(terminal::window_size(self.stdin)))
    }

    fn receive(&mut self) -> Result<(), EnterError> {
        self.connection.fill().map_err(broken)?;
        while let Some(reply) = self.connection.next_message().map_err(broken)? {
            match reply {
                Reply::Started => self.begin()?,
                Reply::Output { stream, data } => {
                    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    let output = match stream {
                        StdioStream::Stdout => &mut self.stdout,
                        StdioStream::Stderr => &mut self.stderr,
                    };
                    output.sink.push_bytes(&data, length);
                }
                Reply::InputCredit(bytes) => {
                    self.input_credit = self.input_credit.saturating_add(bytes);
                }
                Reply::Exited(exit) => {
                    self.phase = Phase::Ended(match exit {
                        AppExit::Code(code) => ExitCode(code),
                        AppExit::Signal(signal) => ExitCode::of_signal(signal),
                    });
                    return Ok(());
                }
                Reply::Failed(reason) => return Err(EnterError::Refused(reason)),
                Reply::PodEnded => return Err(self.pod_ended()),
                // Answers to what nobody asked here.
                Reply::Stopping | Reply::Done | Reply::NotRunning | Reply::Warning(_) | Reply::Metrics(_) => {
                }
            }
        }
        if self.connection.is_closed() { Err(self.pod_ended()) } else { Ok(()) }
    }

    /// The command runs. Until now Ctrl-C was a signal and ended the waiting.
    fn begin(&mut self) -> Result<(), EnterError> {
        self.phase = Phase::Running;
        if self.interactive {
            let raw = RawMode::enter(self.stdin).map_err(|errno| EnterError::Terminal(errno.into()))?;
            self.raw = Some(raw);
            // The window may have changed since it was asked for.
            self.resize()?;
        }
        Ok(())
    }

    /// What the command said before is written as far as it is taken at once.
    fn pod_ended(&mut self) -> EnterError {
        let _ = self.write_output();
        EnterError::PodEnded
    }

    /// Reads what the command has room for. A code ends it here: the terminal is gone.
    fn read_input(&mut self) -> Result<Option<ExitCode>, EnterError> {
        let room = usize::try_from(self.input_credit).unwrap_or(MAX_INPUT_BYTES).min(MAX_INPUT_BYTES);
        let mut data = vec![0; room];
        match rustix::io::read(self.stdin, data.as_mut_slice()) {
            Ok(0) | Err(Errno::IO) if self.interactive => return Ok(Some(ended_by(Signal::SIGHUP))),
            Ok(0) => {
                self.input_open = false;
                self.send(&Request::InputClosed)?;
            }
            Ok(count) => {
                data.truncate(count);
                self.input_credit =
                    self.input_credit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                self.send(&Request::Input(data))?;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(EnterError::Input(errno.into())),
        }
        Ok(None)
    }

    fn write_output(&mut self) -> io::Result<()> {
        let granted =
            [(StdioStream::Stdout, self.stdout.flush()?), (StdioStream::Stderr, self.stderr.flush()?)];
        if self.phase == Phase::Running {
            for (stream, bytes) in granted {
                if let Some(bytes) = bytes {
                    let credit = Request::Credit { stream, bytes };
                    self.connection.send(&credit).map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<(), EnterError> {
        self.connection.send(request).map_err(broken)
    }
}

/// A connection that cannot be used is that of a pod that was killed.
fn broken(error: ConnectionError) -> EnterError {
    match error {
        ConnectionError::Socket(_) => EnterError::PodEnded,
        other => EnterError::Wait(io::Error::other(other)),
    }
}

fn number(signal: Signal) -> u8 {
    u8::try_from(signal as i32).unwrap_or_default()
}

fn ended_by(signal: Signal) -> ExitCode {
    ExitCode::of_signal(number(signal))
}

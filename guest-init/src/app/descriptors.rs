//! The three standard descriptors of a process: PID 1's ends and the process's own.
//!
//! Responsible for: making both for each kind of stdio, and giving a process its own. Must not know: what goes through them.
//! Follows guest-api (`Stdio`) and rkt-reference 7.5.

use std::os::fd::{AsFd, OwnedFd};

use guest_api::{Stdio, StdioStream, WindowSize};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::input::Input;
use super::output::Stream;
use super::pty::{self, Terminal, UserSide};
use super::root_dir::RootDir;
use super::users::Ids;
use crate::InitError;

/// PID 1's ends.
#[derive(Debug)]
pub struct Descriptors {
    /// Where the host's input goes.
    pub input: Input,
    stdout: Stream,
    stderr: Stream,
    terminal: Option<Terminal>,
}

/// The process's ends.
#[derive(Debug)]
pub enum Handed {
    /// One descriptor for each.
    Three {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Whether somebody writes to descriptor 0.
        takes_input: bool,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A terminal for all of them.
    Terminal(UserSide),
}

/// Makes both.
pub fn make(stdio: Stdio) -> Result<(Descriptors, Handed), InitError> {
    match stdio {
        Stdio::Log => {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(InitError::kernel("open /dev/null"))?;
            three(Input::none(), null, false)
        }
        Stdio::Pipes => {
            let (stdin, end) = pipe()?;
            three(Input::pipe(end).map_err(InitError::kernel("prepare a pipe"))?, stdin, true)
        }
        Stdio::Terminal(size) => terminal(size),
    }
}

fn three(input: Input, stdin: OwnedFd, takes_input: bool) -> Result<(Descriptors, Handed), InitError> {
    let stream = |pipe| Stream::pipe(pipe).map_err(InitError::kernel("prepare a pipe"));
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let descriptors = Descriptors { input, stdout: stream(stdout)?, stderr: stream(stderr)?, terminal: None };
    Ok((descriptors, Handed::Three { stdin, takes_input, stdout: stdout_end, stderr: stderr_end }))
}

fn terminal(size: WindowSize) -> Result<(Descriptors, Handed), InitError> {
    let doing = "make a terminal";
    let (terminal, user_side) = Terminal::open(pty::MULTIPLEXER, size).map_err(InitError::kernel(doing))?;
    Ok((Descriptors::of_terminal(terminal)?, Handed::Terminal(user_side)))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), InitError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(InitError::kernel("make a pipe"))
}

impl Descriptors {
    /// Both outputs.
    pub const STREAMS: [StdioStream; 2] = [StdioStream::Stdout, StdioStream::Stderr];

    /// All of a process whose descriptors are one terminal.
    pub fn of_terminal(terminal: Terminal) -> Result<Self, InitError> {
        let doing = "share a terminal's controlling side";
        let controller = || terminal.controller().map_err(InitError::kernel(doing));
        Ok(Self {
            input: Input::terminal(controller()?).map_err(InitError::kernel(doing))?,
            stdout: Stream::terminal(controller()?).map_err(InitError::kernel(doing))?,
            stderr: Stream::none(),
            terminal: Some(terminal),
        })
    }

    /// One output.
    pub fn stream(&self, stream: StdioStream) -> &Stream {
        match stream {
            StdioStream::Stdout => &self.stdout,
            StdioStream::Stderr => &self.stderr,
        }
    }

    /// One output.
    pub fn stream_mut(&mut self, stream: StdioStream) -> &mut Stream {
        match stream {
            StdioStream::Stdout => &mut self.stdout,
            StdioStream::Stderr => &mut self.stderr,
        }
    }

    /// The terminal, if there is one.
    pub fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// The process has ended: what it wrote is still to be sent.
    pub fn owe_what_is_there(&mut self) -> std::io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.leave_to_descendants();
        }
        self.stdout.owe_what_is_there()?;
        self.stderr.owe_what_is_there()
    }

    /// Whether all that was there when the process ended has been sent.
    pub fn owe_nothing(&self) -> bool {
        self.stdout.owes_nothing() && self.stderr.owes_nothing()
    }

    /// Closes everything, a terminal included: its processes get SIGHUP. Says which outputs were open.
    pub fn close(&mut self) -> Vec<StdioStream> {
        self.input.close();
        self.terminal = None;
        Self::STREAMS.into_iter().filter(|stream| self.stream_mut(*stream).close()).collect()
    }
}

impl Handed {
    /// Makes these the standard descriptors of the calling process, which is about to run as `ids` in `root`.
    pub fn take(&self, root: &RootDir, ids: &Ids) -> Result<(), InitError> {
        let doing = "give the process its standard descriptors";
        match self {
            Self::Three { stdin, takes_input, stdout, stderr } => {
                // A pipe can be opened anew through /dev/stdout by its owner only. /dev/null belongs to everybody.
                for pipe in takes_input.then_some(stdin).into_iter().chain([stdout, stderr]) {
                    own(pipe, ids, Some(Gid::from_raw(ids.gid)))?;
                }
                let take = || {
                    dup2_stdin(stdin.as_fd())?;
                    dup2_stdout(stdout.as_fd())?;
                    dup2_stderr(stderr.as_fd())
                };
                take().map_err(InitError::kernel(doing))
            }
            Self::Terminal(user_side) => {
                // Its group is `tty` and stays so.
                own(user_side, ids, None)?;
                let terminal = user_side.take(root).map_err(InitError::kernel(doing))?;
                let take = || {
                    dup2_stdin(terminal.as_fd())?;
                    dup2_stdout(terminal.as_fd())?;
                    dup2_stderr(terminal.as_fd())
                };
                take().map_err(InitError::kernel(doing))
            }
        }
    }
}

fn own(descriptor: impl AsFd, ids: &Ids, group: Option<Gid>) -> Result<(), InitError> {
    nix::unistd::fchown(descriptor, Some(Uid::from_raw(ids.uid)), group)
        .map_err(InitError::kernel("hand over the standard descriptors"))
}

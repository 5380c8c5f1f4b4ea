//! The three standard descriptors of a process: PID 1's ends and the process's own.
//!
//! Responsible for: making both for each kind of stdio, and giving a process its own. Must not know: what goes through them.
//! Follows guest-api (`Stdio`) and rkt-reference 7.5.

use std::os::fd::{AsFd, OwnedFd};

use guest_api::{Endpoint, Stdio, StdioStream};
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

/// A process's end of one standard descriptor.
#[derive(Debug)]
enum End {
    Null,
    Pipe(OwnedFd),
    Terminal,
}

/// The process's ends.
#[derive(Debug)]
pub struct Handed {
    stdin: End,
    stdout: End,
    stderr: End,
    /// PID 1's, which the app has no say in.
    null: OwnedFd,
    terminal: Option<UserSide>,
}

/// Makes both.
pub fn make(stdio: Stdio) -> Result<(Descriptors, Handed), InitError> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(InitError::kernel("open /dev/null"))?;
    let (terminal, user_side) = if stdio.has_terminal() {
        let opened = Terminal::open(pty::MULTIPLEXER, stdio.terminal_size);
        let (terminal, user_side) = opened.map_err(InitError::kernel("make a terminal"))?;
        (Some(terminal), Some(user_side))
    } else {
        (None, None)
    };
    let controller = || terminal.as_ref().map(controller).transpose();
    let (input, stdin) = match stdio.stdin {
        Endpoint::Null => (Input::none(), End::Null),
        Endpoint::Pipe => {
            let (stdin, end) = pipe()?;
            (Input::pipe(end).map_err(InitError::kernel("prepare a pipe"))?, End::Pipe(stdin))
        }
        Endpoint::Terminal => {
            let input = controller()?.map_or(Ok(Input::none()), Input::terminal);
            (input.map_err(InitError::kernel("prepare a terminal"))?, End::Terminal)
        }
    };
    let output = |stream, endpoint| {
        let end = match endpoint {
            Endpoint::Null => End::Null,
            Endpoint::Terminal => End::Terminal,
            Endpoint::Pipe => {
                let (source, end) = pipe()?;
                let source = Stream::pipe(source).map_err(InitError::kernel("prepare a pipe"))?;
                return Ok((source, End::Pipe(end)));
            }
        };
        // Not only if this descriptor is the terminal: what is echoed on it has to go somewhere.
        let source = controller()?.filter(|_| stdio.terminal_stream() == Some(stream));
        let source = source.map_or(Ok(Stream::none()), Stream::terminal);
        Ok((source.map_err(InitError::kernel("prepare a terminal"))?, end))
    };
    let (stdout_source, stdout) = output(StdioStream::Stdout, stdio.stdout)?;
    let (stderr_source, stderr) = output(StdioStream::Stderr, stdio.stderr)?;
    let descriptors = Descriptors { input, stdout: stdout_source, stderr: stderr_source, terminal };
    Ok((descriptors, Handed { stdin, stdout, stderr, null, terminal: user_side }))
}

fn controller(terminal: &Terminal) -> Result<OwnedFd, InitError> {
    terminal.controller().map_err(InitError::kernel("share a terminal's controlling side"))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), InitError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(InitError::kernel("make a pipe"))
}

impl Descriptors {
    /// Both outputs.
    pub const STREAMS: [StdioStream; 2] = [StdioStream::Stdout, StdioStream::Stderr];

    /// All of a process whose descriptors are one terminal.
    pub fn of_terminal(terminal: Terminal) -> Result<Self, InitError> {
        let doing = "prepare a terminal";
        Ok(Self {
            input: Input::terminal(controller(&terminal)?).map_err(InitError::kernel(doing))?,
            stdout: Stream::terminal(controller(&terminal)?).map_err(InitError::kernel(doing))?,
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
    /// Nobody else will read the input.
    pub fn close_input(&mut self) {
        self.stdin = End::Null;
    }

    /// Makes these the standard descriptors of an event handler, which runs as root: it writes where its app does, but reads
    /// nothing of what the app is sent, and has no say about the app's terminal.
    pub fn lend(&self, root: &RootDir) -> Result<(), InitError> {
        const DOING: &str = "give the event handler its standard descriptors";
        let terminal = match &self.terminal {
            None => None,
            Some(user_side) => Some(user_side.borrow(root).map_err(InitError::kernel(DOING))?),
        };
        let end = |end| match end {
            &End::Null => Ok(self.null.as_fd()),
            End::Terminal => Ok(terminal.as_ref().unwrap_or(&self.null).as_fd()),
            End::Pipe(pipe) => {
                own(pipe, &Ids::ROOT, Some(Gid::from_raw(0)))?;
                Ok(pipe.as_fd())
            }
        };
        let (stdout, stderr) = (end(&self.stdout)?, end(&self.stderr)?);
        let take = || {
            dup2_stdin(self.null.as_fd())?;
            dup2_stdout(stdout)?;
            dup2_stderr(stderr)
        };
        take().map_err(InitError::kernel(DOING))
    }

    /// Makes these the standard descriptors of the calling process, which is about to run as `ids` in `root`.
    pub fn take(&self, root: &RootDir, ids: &Ids) -> Result<(), InitError> {
        const DOING: &str = "give the process its standard descriptors";
        let terminal = match &self.terminal {
            None => None,
            Some(user_side) => {
                // Its group is `tty` and stays so.
                own(user_side, ids, None)?;
                Some(user_side.take(root).map_err(InitError::kernel(DOING))?)
            }
        };
        let end = |end| match end {
            &End::Null => Ok(self.null.as_fd()),
            End::Terminal => Ok(terminal.as_ref().unwrap_or(&self.null).as_fd()),
            End::Pipe(pipe) => {
                // It can be opened anew through /dev/stdout by its owner only.
                own(pipe, ids, Some(Gid::from_raw(ids.gid)))?;
                Ok(pipe.as_fd())
            }
        };
        let (stdin, stdout, stderr) = (end(&self.stdin)?, end(&self.stdout)?, end(&self.stderr)?);
        let take = || {
            dup2_stdin(stdin)?;
            dup2_stdout(stdout)?;
            dup2_stderr(stderr)
        };
        take().map_err(InitError::kernel(DOING))
    }
}

fn own(descriptor: impl AsFd, ids: &Ids, group: Option<Gid>) -> Result<(), InitError> {
    nix::unistd::fchown(descriptor, Some(Uid::from_raw(ids.uid)), group)
        .map_err(InitError::kernel("hand over the standard descriptors"))
}

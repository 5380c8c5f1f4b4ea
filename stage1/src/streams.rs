//! What an app's standard streams are connected to.
//!
//! Responsible for: the modes of rkt's annotations, and what they are in the guest. Must not know: what passes through them.
//! Follows rkt-reference 6.11 and 7.5, and docs/attach.md.

use appc::{Annotations, RuntimeApp};
use guest_api::{Endpoint, Stdio, StdioStream, WindowSize};

/// Size of the terminal of an app that nobody is attached to yet: what every terminal had when it had to say none.
const TERMINAL_SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// `TERM` of an app whose terminal is not that of the caller. Clients of all kinds attach to it.
pub const TERMINAL_TYPE: &str = "vt100";

/// What one stream is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// /dev/null.
    Null,
    /// The log and rkt's own output (outputs only).
    Log,
    /// Whoever attaches; an output is logged as well.
    Stream,
    /// The app's terminal: whoever attaches, and the log.
    Tty,
    /// rkt's own standard stream.
    Interactive,
}

/// The annotation of a stream and what it may say.
struct Annotation {
    name: &'static str,
    values: &'static [(&'static str, Mode)],
    expected: &'static str,
}

const STDIN: Annotation = Annotation {
    name: "coreos.com/rkt/stage2/stdin",
    values: &[
        ("null", Mode::Null),
        ("stream", Mode::Stream),
        ("tty", Mode::Tty),
        ("interactive", Mode::Interactive),
    ],
    expected: "null, stream, tty or interactive",
};

const STDOUT: Annotation = Annotation {
    name: "coreos.com/rkt/stage2/stdout",
    values: &[
        ("log", Mode::Log),
        ("null", Mode::Null),
        ("stream", Mode::Stream),
        ("tty", Mode::Tty),
        ("interactive", Mode::Interactive),
    ],
    expected: "log, null, stream, tty or interactive",
};

const STDERR: Annotation = Annotation { name: "coreos.com/rkt/stage2/stderr", ..STDOUT };

/// Why an app's streams cannot be connected as its annotations ask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Not a mode, or not one of this stream.
    #[error("annotation {annotation} is {value:?} (want {expected})")]
    Mode {
        /// Its name.
        annotation: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        expected: &'static str,
    },
    /// An app has one terminal, and it cannot be rkt's and another one.
    #[error("annotation {annotation} is \"tty\", which no stream of an interactive app can be")]
    TwoTerminals {
        /// The annotation.
        annotation: &'static str,
    },
}

/// The three streams of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: Mode,
    /// Standard output.
    pub stdout: Mode,
    /// Standard error.
    pub stderr: Mode,
}

impl Streams {
    /// What an app has that asks for nothing.
    #[cfg(test)]
    pub const LOG: Self = Self { stdin: Mode::Null, stdout: Mode::Log, stderr: Mode::Log };

    /// Those of an app in the pod manifest; with `interactive`, rkt's own where the manifest does not say.
    pub fn of(app: &RuntimeApp, interactive: bool) -> Result<Self, StreamError> {
        let default = |mode| if interactive { Mode::Interactive } else { mode };
        let streams = Self {
            stdin: mode(&app.annotations, &STDIN, default(Mode::Null))?,
            stdout: mode(&app.annotations, &STDOUT, default(Mode::Log))?,
            stderr: mode(&app.annotations, &STDERR, default(Mode::Log))?,
        };
        let modes = [(streams.stdin, STDIN), (streams.stdout, STDOUT), (streams.stderr, STDERR)];
        match modes.into_iter().find(|(mode, _)| *mode == Mode::Tty) {
            Some((_, annotation)) if streams.is_interactive() => {
                Err(StreamError::TwoTerminals { annotation: annotation.name })
            }
            _ => Ok(streams),
        }
    }

    /// Whether one of them is rkt's own.
    pub fn is_interactive(&self) -> bool {
        [self.stdin, self.stdout, self.stderr].contains(&Mode::Interactive)
    }

    /// What the app finds, with the caller's terminal of this size, if that is one.
    pub fn in_guest(&self, caller: Option<WindowSize>) -> Stdio {
        let endpoint = |mode| match mode {
            Mode::Null => Endpoint::Null,
            Mode::Log | Mode::Stream => Endpoint::Pipe,
            Mode::Tty => Endpoint::Terminal,
            Mode::Interactive if caller.is_some() => Endpoint::Terminal,
            Mode::Interactive => Endpoint::Pipe,
        };
        let terminal_size = caller.filter(|_| self.is_interactive()).unwrap_or(TERMINAL_SIZE);
        let (stdin, stdout, stderr) = (endpoint(self.stdin), endpoint(self.stdout), endpoint(self.stderr));
        Stdio { stdin, stdout, stderr, terminal_size }
    }

    /// Where what the guest sends of an output goes. Of a terminal whose user is connected with its input only, that is the echo.
    pub fn destination(&self, stream: StdioStream) -> Mode {
        let own = match stream {
            StdioStream::Stdout => self.stdout,
            StdioStream::Stderr => self.stderr,
        };
        match (own, self.is_interactive()) {
            (Mode::Null, true) => Mode::Interactive,
            (Mode::Null, false) => Mode::Tty,
            (mode, _) => mode,
        }
    }
}

fn mode(annotations: &Annotations, annotation: &Annotation, default: Mode) -> Result<Mode, StreamError> {
    let Some(value) = annotations.get(annotation.name) else { return Ok(default) };
    let known = annotation.values.iter().find(|(name, _)| *name == value);
    known.map(|(_, mode)| *mode).ok_or_else(|| StreamError::Mode {
        annotation: annotation.name,
        value: value.to_owned(),
        expected: annotation.expected,
    })
}

//! What xtask says while it works: lines on stderr, so that stdout stays the command's own.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints a line.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "xtask: {line}");
}

/// A long step: says that it began, how it goes, and how long it took.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

/// A terminal sees a figure move; a log file gets a line now and then.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(30);

impl Step {
    pub(crate) fn begin(name: &str) -> Self {
        say(name);
        let now = Instant::now();
        Self { name: name.to_owned(), started: now, shown: now, terminal: io::stderr().is_terminal() }
    }

    /// Shows how far it is, not more often than is useful.
    pub(crate) fn advance(&mut self, state: &str) {
        let interval = if self.terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[Kxtask: {}: {state}, {seconds} s", self.name);
        } else {
            say(&format!("{}: {state}, {seconds} s", self.name));
        }
    }

    pub(crate) fn end(self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        say(&format!("{}: done in {:.1} s", self.name, self.started.elapsed().as_secs_f64()));
    }
}

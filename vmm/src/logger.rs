//! What the VMM has to say: mostly of a guest that breaks the rules, which therefore must not decide how much it is.
//!
//! Responsible for: writing what this crate and the ones below it log to a file, from each place in the code at most so often. Must
//! not know: what they say, and who reads the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};

/// Messages from one place per [`WINDOW`]; enough to see a pattern.
const BURST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(5);

/// What is longer is cut. It is written at once: a pipe does not mix that with what others write (PIPE_BUF, pipe(7)).
const MAX_LINE_BYTES: usize = 512;

/// Starts the VMM's lines in a file that has the guest's serial port, too, which may not write this byte.
pub const LOG_MARK: u8 = 0x01;

/// A file and line of source code.
type Place = (&'static str, u32);

#[derive(Debug)]
struct Window {
    started: Instant,
    messages: u32,
}

/// Writes to a file what is logged in this process, at level `debug` and above.
#[derive(Debug)]
pub struct Logger {
    file: File,
    prefix: &'static [u8],
    places: Mutex<BTreeMap<Place, Window>>,
}

impl Logger {
    /// Writes lines that start with `prefix`.
    pub fn new(file: File, prefix: &'static [u8]) -> Self {
        Self { file, prefix, places: Mutex::default() }
    }

    /// Hears everything that is logged from now on, unless there is a logger already.
    pub fn install(self) {
        static LOGGER: OnceLock<Logger> = OnceLock::new();
        if log::set_logger(LOGGER.get_or_init(|| self)).is_ok() {
            log::set_max_level(LevelFilter::Debug);
        }
    }

    /// Whether a message from `place` may be written at `now`; if so, how many before it were not.
    pub(crate) fn admit(&self, place: Place, now: Instant) -> Option<u32> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let window = places.entry(place).or_insert(Window { started: now, messages: 0 });
        let mut silenced = 0;
        if now.saturating_duration_since(window.started) >= WINDOW {
            silenced = window.messages.saturating_sub(BURST);
            *window = Window { started: now, messages: 0 };
        }
        window.messages = window.messages.saturating_add(1);
        (window.messages <= BURST).then_some(silenced)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= LevelFilter::Debug
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let place = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        let Some(silenced) = self.admit(place, Instant::now()) else { return };
        let mut line = Cursor::new([0; MAX_LINE_BYTES]);
        // What does not fit is left out, and nobody can be told that the file takes nothing.
        let _ = line.write_all(self.prefix);
        let _ = write!(line, "{}", record.args());
        if silenced > 0 {
            let _ = write!(line, " (and {silenced} like it before)");
        }
        let written = usize::try_from(line.position()).unwrap_or(MAX_LINE_BYTES).min(MAX_LINE_BYTES - 1);
        let mut line = line.into_inner();
        if let Some(line) = line.get_mut(..=written) {
            line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            if let Some(end) = line.last_mut() {
                *end = b'\n';
            }
            let _ = (&self.file).write_all(line);
        }
    }

    fn flush(&self) {}
}

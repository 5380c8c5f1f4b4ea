//! How far a download is: a bar on a terminal, plain lines elsewhere. Both on stderr, for stdout is for results.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Time between plain lines: often enough to see life in a CI log, rarely enough not to fill it.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress while a reader is read.
pub(super) struct Progress<R> {
    source: R,
    label: &'static str,
    total: Option<u64>,
    done: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<R: Read> Progress<R> {
    /// `label` is `Downloading ACI` or `Downloading signature`; `total` is the length, where the server told it.
    pub fn new(source: R, label: &'static str, total: Option<u64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| bar(label, total));
        Self { source, label, total, done: 0, bar, last_line: Instant::now() }
    }

    /// Shows the end of a download that succeeded.
    pub fn finish(self) {
        match &self.bar {
            Some(bar) => bar.finish(),
            None => self.line(),
        }
    }

    fn line(&self) {
        match self.total {
            Some(total) => {
                output::complain(&format!("{}: {}/{}", self.label, HumanBytes(self.done), HumanBytes(total)));
            }
            None => output::complain(&format!("{}: {}", self.label, HumanBytes(self.done))),
        }
    }
}

fn bar(label: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = if total.is_some() {
        "{prefix}: [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}"
    } else {
        "{prefix}: {spinner} {bytes} {bytes_per_sec}"
    };
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(label);
    bar
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.done += count as u64;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.line();
                self.last_line = Instant::now();
            }
            None => {}
        }
        Ok(count)
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        // After an error the bar stays where it was, and the message goes below it.
        if let Some(bar) = self.bar.as_ref().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

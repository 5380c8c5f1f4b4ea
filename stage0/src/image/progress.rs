//! How far downloads are: a bar each on a terminal, one line each elsewhere. Both on stderr, for stdout is for results.
//!
//! Responsible for: drawing. Must not know: what is downloaded, from where. Follows rkt-reference.md 3.4 ("Progress bars").

use std::io::{self, IsTerminal, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// The bars of one command; several may be drawn at once, from several threads.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// `None` where there is no terminal to draw on.
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Bars on stderr if that is a terminal.
    pub fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { bars: io::stderr().is_terminal().then_some(bars) }
    }

    /// A new bar below the others. `label` is for example `Downloading ACI`; `length` is in bytes, where it is known.
    pub fn bar(&self, label: impl Into<String>, length: Option<u64>) -> Bar {
        let label = label.into();
        let drawn = self.bars.as_ref().map(|bars| bars.add(styled(&label, length)));
        Bar { label, length, done: AtomicU64::new(0), drawn }
    }

    /// Lets `act` write on stderr without a bar in the way.
    pub fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(act),
            None => act(),
        }
    }
}

/// One download. Dropped without [`Self::finish`] it says nothing more: an error message follows.
#[derive(Debug)]
pub struct Bar {
    label: String,
    length: Option<u64>,
    done: AtomicU64,
    drawn: Option<ProgressBar>,
}

impl Bar {
    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.drawn {
            bar.inc(bytes);
        }
    }

    /// Counts what is read from `source`.
    pub fn reader<R: Read>(&self, source: R) -> Counted<'_, R> {
        Counted { source, bar: self }
    }

    /// Shows the end of a download that succeeded.
    pub fn finish(self) {
        let Some(bar) = &self.drawn else {
            let done = self.done.load(Ordering::Relaxed);
            let line = match self.length {
                Some(length) => format!("{}: {}/{}", self.label, HumanBytes(done), HumanBytes(length)),
                None => format!("{}: {}", self.label, HumanBytes(done)),
            };
            return output::complain(&line);
        };
        bar.finish();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // After an error the bar stays where it was, and the message goes below it.
        if let Some(bar) = self.drawn.as_ref().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

/// A reader whose bytes a bar counts.
#[derive(Debug)]
pub struct Counted<'a, R> {
    source: R,
    bar: &'a Bar,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bar.advance(count as u64);
        Ok(count)
    }
}

fn styled(label: &str, length: Option<u64>) -> ProgressBar {
    // Hidden until its group draws it.
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    let template = if length.is_some() {
        "{prefix}: [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}"
    } else {
        "{prefix}: {spinner} {bytes} {bytes_per_sec}"
    };
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(label.to_owned());
    bar
}

//! Apps' output, from bytes of many streams to whole lines of two.
//!
//! Responsible for: cutting each stream into lines, labelling them, and remembering how many bytes of the stream a line
//! stands for, because the guest may send more only when they are written. Must not know: descriptors. Follows
//! rkt-reference 6.11 and guest-api's `Credit`.

use std::time::Duration;

use crate::line_cutter;

/// Longest line passed on in one piece. Longer ones are cut: a bound is needed, and this one is the pipe-atomic size
/// (4 KiB) times four, more than any log line people read.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// A finished line, ready for one `write(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Label, text and newline.
    pub bytes: Vec<u8>,
    /// Bytes of the stream it stands for.
    pub stream_bytes: u32,
}

/// Cuts one stream of one app into lines.
#[derive(Debug)]
pub struct LineAssembler {
    /// None if the stream passes as it is.
    label: Option<String>,
    partial: Vec<u8>,
}

impl LineAssembler {
    /// For the app `name` whose process is `pid` (in the guest).
    pub fn new(name: &str, pid: u32) -> Self {
        Self { label: Some(format!("{name}[{pid}]")), partial: Vec::new() }
    }

    /// What comes next is written by another process of the app. Nothing to a stream that passes as it is.
    pub fn relabel(&mut self, name: &str, pid: u32) {
        if let Some(label) = &mut self.label {
            *label = format!("{name}[{pid}]");
        }
    }

    /// For an app that speaks to a person or a program, not to a log: every byte passes as it comes.
    pub fn raw() -> Self {
        Self { label: None, partial: Vec::new() }
    }

    /// Takes the next bytes of the stream and returns the lines they complete. `uptime` is the pod's.
    pub fn push(&mut self, data: &[u8], uptime: Duration) -> Vec<Line> {
        if self.label.is_none() && !data.is_empty() {
            let stream_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            return vec![Line { bytes: data.to_vec(), stream_bytes }];
        }
        let prefix = self.prefix(uptime);
        let mut lines = Vec::new();
        for piece in line_cutter::pieces(data) {
            let mut rest = piece;
            if self.partial.is_empty() && piece.ends_with(b"\n") && piece.len() <= MAX_LINE_BYTES {
                lines.push(line(&prefix, piece));
                continue;
            }
            while !rest.is_empty() {
                let room = MAX_LINE_BYTES.saturating_sub(self.partial.len()).max(1);
                let (taken, left) = rest.split_at(room.min(rest.len()));
                self.partial.extend_from_slice(taken);
                rest = left;
                if self.partial.ends_with(b"\n") || self.partial.len() >= MAX_LINE_BYTES {
                    lines.push(line(&prefix, &self.partial));
                    self.partial.clear();
                }
            }
        }
        lines
    }

    /// The stream has ended: what is left of it, as a line of its own.
    pub fn finish(&mut self, uptime: Duration) -> Option<Line> {
        if self.partial.is_empty() {
            return None;
        }
        let text = std::mem::take(&mut self.partial);
        Some(line(&self.prefix(uptime), &text))
    }

    /// Whether every byte passes as it comes.
    pub fn is_raw(&self) -> bool {
        self.label.is_none()
    }

    fn prefix(&self, uptime: Duration) -> String {
        let label = self.label.as_deref().unwrap_or_default();
        format!("[{:5}.{:06}] {label}: ", uptime.as_secs(), uptime.subsec_micros())
    }
}

fn line(prefix: &str, text: &[u8]) -> Line {
    let stream_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(prefix.len() + text.len() + 1);
    bytes.extend_from_slice(prefix.as_bytes());
    bytes.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    Line { bytes, stream_bytes }
}

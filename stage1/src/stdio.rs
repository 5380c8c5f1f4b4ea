//! Apps' output, from bytes of many streams to whole lines of two.
//!
//! Responsible for: cutting each stream into lines, labelling them, and knowing how many bytes of the stream they
//! stand for, because the guest may send more only when they are written. Must not know: descriptors. Follows
//! rkt-reference 6.11 and guest-api's `Credit`.

use std::time::Duration;

use crate::line_cutter;

/// Longest line passed on in one piece. Longer ones are cut: a bound is needed, and this one is the pipe-atomic size
/// (4 KiB) times four, more than any log line people read.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// Cuts one stream of one app into lines.
#[derive(Debug)]
pub struct LineAssembler {
    /// None if the stream passes as it is.
    label: Option<String>,
    partial: Vec<u8>,
    /// What the last line began with, and the uptime and label that made it so.
    prefix: String,
    prefix_of: Option<Duration>,
}

impl LineAssembler {
    /// For the app `name` whose process is `pid` (in the guest).
    pub fn new(name: &str, pid: u32) -> Self {
        Self { label: Some(format!("{name}[{pid}]")), ..Self::raw() }
    }

    /// What comes next is written by another process of the app. Nothing to a stream that passes as it is.
    pub fn relabel(&mut self, name: &str, pid: u32) {
        if let Some(label) = &mut self.label {
            *label = format!("{name}[{pid}]");
            self.prefix_of = None;
        }
    }

    /// For an app that speaks to a person or a program, not to a log: every byte passes as it comes.
    pub fn raw() -> Self {
        Self { label: None, partial: Vec::new(), prefix: String::new(), prefix_of: None }
    }

    /// Takes the next bytes of the stream, and appends the lines they complete, each behind its label, to `lines`. Returns how many
    /// bytes of the stream they stand for. `uptime` is the pod's.
    pub fn push(&mut self, data: &[u8], uptime: Duration, lines: &mut Vec<u8>) -> u32 {
        if self.label.is_none() {
            lines.extend_from_slice(data);
            return length(data);
        }
        self.set_prefix(uptime);
        let mut bytes = 0_u32;
        for piece in line_cutter::pieces(data) {
            let mut rest = piece;
            while !rest.is_empty() {
                let room = MAX_LINE_BYTES.saturating_sub(self.partial.len()).max(1);
                let (taken, left) = rest.split_at(room.min(rest.len()));
                rest = left;
                if taken.ends_with(b"\n") || taken.len() == room {
                    bytes = bytes.saturating_add(self.end_line(taken, lines));
                } else {
                    self.partial.extend_from_slice(taken);
                }
            }
        }
        bytes
    }

    /// The stream has ended: what is left of it, as a line of its own.
    pub fn finish(&mut self, uptime: Duration, lines: &mut Vec<u8>) -> u32 {
        if self.partial.is_empty() {
            return 0;
        }
        self.set_prefix(uptime);
        self.end_line(b"", lines)
    }

    /// Whether every byte passes as it comes.
    pub fn is_raw(&self) -> bool {
        self.label.is_none()
    }

    /// Appends the line that ends with this.
    fn end_line(&mut self, text: &[u8], lines: &mut Vec<u8>) -> u32 {
        lines.extend_from_slice(self.prefix.as_bytes());
        let mut bytes = length(text);
        if !self.partial.is_empty() {
            bytes = bytes.saturating_add(length(&self.partial));
            lines.append(&mut self.partial);
        }
        lines.extend_from_slice(text);
        if !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
        bytes
    }

    fn set_prefix(&mut self, uptime: Duration) {
        if self.prefix_of.replace(uptime) != Some(uptime) {
            let label = self.label.as_deref().unwrap_or_default();
            self.prefix = format!("[{:5}.{:06}] {label}: ", uptime.as_secs(), uptime.subsec_micros());
        }
    }
}

fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

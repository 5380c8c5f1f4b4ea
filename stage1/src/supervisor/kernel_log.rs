//! What the machine says: the guest kernel's messages, all of them with `--debug`, its last ones if it dies without; and with
//! `--debug` the VMM's, in order.
//!
//! Responsible for: cutting what comes out of the serial port, and what the VMM adds, into lines. Must not know: where they go. Follows
//! docs/architecture.md, "The machine".

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use vmm::{ConsoleTail, LOG_MARK};

use crate::stdio::MAX_LINE_BYTES;

/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// Of a kernel that died: its report of an oops takes about 40 lines, and what led to it stands before it.
const LAST_LINES: usize = 60;

/// A line, and who says it.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The guest's kernel, if the VMM is what it was.
    Kernel(Vec<u8>),
    /// The VMM.
    Vmm(Vec<u8>),
}

/// The reading end of the VM's serial port.
#[derive(Debug)]
pub struct KernelLog {
    serial: Option<File>,
    partial: Vec<u8>,
    /// Without somebody at the serial port.
    tail: Option<&'static ConsoleTail>,
}

impl KernelLog {
    /// Reads from `serial`; without it, `tail` has the last messages.
    pub fn new(serial: Option<File>, tail: &'static ConsoleTail) -> Self {
        let tail = serial.is_none().then_some(tail);
        Self { serial, partial: Vec::new(), tail }
    }

    /// The descriptor to wait for, until the VMM has closed its end.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.serial.as_ref().map(AsFd::as_fd)
    }

    /// Reads once and returns the lines that are complete.
    pub fn read(&mut self) -> Vec<Line> {
        let Some(serial) = &mut self.serial else { return Vec::new() };
        let mut buffer = [0; READ_BYTES];
        match serial.read(&mut buffer) {
            Ok(0) => self.serial = None,
            Ok(count) => self.partial.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.serial = None,
        }
        let mut lines = Vec::new();
        while let Some(line) = self.complete_line() {
            lines.push(said(line));
        }
        lines
    }

    /// The VMM speaks when it has to, in the middle of a line of the guest's, too, which ends there.
    fn complete_line(&mut self) -> Option<Vec<u8>> {
        let end = self.partial.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        let mark = self.partial.iter().skip(1).position(|byte| *byte == LOG_MARK).map(|mark| mark + 1);
        let whole = self.serial.is_none() || self.partial.len() > MAX_LINE_BYTES;
        let rest = (whole && !self.partial.is_empty()).then_some(self.partial.len());
        let length = end.into_iter().chain(mark).min().or(rest)?;
        Some(self.partial.drain(..length).collect())
    }

    /// What it said before its end, unless that was read as it came. The VMM, which kept it, may have been the guest's.
    pub fn last_lines(&self) -> Vec<Vec<u8>> {
        let said = self.tail.map(ConsoleTail::bytes).unwrap_or_default();
        let printable =
            |line: &[u8]| line.iter().copied().filter(|byte| matches!(byte, b' '..=b'~')).collect();
        let lines = said.split(|byte| *byte == b'\n').map(printable);
        let mut lines: Vec<Vec<u8>> = lines.filter(|line: &Vec<u8>| !line.is_empty()).collect();
        lines.split_off(lines.len().saturating_sub(LAST_LINES))
    }
}

fn said(line: Vec<u8>) -> Line {
    match line.strip_prefix(&[LOG_MARK]) {
        Some(line) => Line::Vmm(line.to_vec()),
        None => Line::Kernel(line),
    }
}

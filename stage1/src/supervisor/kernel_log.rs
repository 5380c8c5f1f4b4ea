//! The guest kernel's messages, which a pod has with `--debug` only.
//!
//! Responsible for: cutting what comes out of the serial port into lines. Must not know: where they go. Follows
//! docs/architecture.md, "The machine".

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use crate::stdio::MAX_LINE_BYTES;

/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// The reading end of the VM's serial port.
#[derive(Debug)]
pub struct KernelLog {
    serial: Option<File>,
    partial: Vec<u8>,
}

impl KernelLog {
    /// Reads from `serial`; without it there are no messages.
    pub fn new(serial: Option<File>) -> Self {
        Self { serial, partial: Vec::new() }
    }

    /// The descriptor to wait for, until the VMM has closed its end.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.serial.as_ref().map(AsFd::as_fd)
    }

    /// Reads once and returns the lines that are complete.
    pub fn read(&mut self) -> Vec<Vec<u8>> {
        let Some(serial) = &mut self.serial else { return Vec::new() };
        let mut buffer = [0; READ_BYTES];
        match serial.read(&mut buffer) {
            Ok(0) => self.serial = None,
            Ok(count) => self.partial.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.serial = None,
        }
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            lines.push(self.partial.drain(..=end).collect());
        }
        let ended = self.serial.is_none();
        if self.partial.len() > MAX_LINE_BYTES || (ended && !self.partial.is_empty()) {
            lines.push(std::mem::take(&mut self.partial));
        }
        lines
    }
}

//! One file of an app's log.
//!
//! Responsible for: whole records of a file that is still written to, and what a record says. Must not know: other files,
//! lines of several records. Follows Kubernetes' "CRI: log management".

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::logs::LogStream;

/// Files of one app: stage1's `APP.log` to `APP.log.4`, and as many again for one that keeps more.
pub const MAX_FILES: usize = 10;

/// Longest record. stage1 cuts lines after 16 KiB; a longer record is not one of its own.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// A log file being read.
#[derive(Debug)]
pub struct LogFile {
    reader: BufReader<File>,
    /// Where the next record begins.
    position: u64,
    device: u64,
    inode: u64,
}

impl LogFile {
    /// Opens the file that was put aside `number` times; `None` if it is not there. No link is followed: `directory` is the
    /// pod's.
    pub fn open(directory: &OwnedFd, app: &str, number: usize) -> rustix::io::Result<Option<Self>> {
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let path = format!("logs/{app}.log{suffix}");
        let file = match rustix::fs::openat(directory, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            file => file?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let (device, inode) = (stat.st_dev, stat.st_ino);
        Ok(Some(LogFile { reader: BufReader::new(file.into()), position: 0, device, inode }))
    }

    /// Whether both are the same file, by whatever names.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// The next record without its newline, if it is written whole.
    pub fn next_record(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        let read = (&mut self.reader).take(MAX_RECORD_BYTES).read_until(b'\n', &mut record)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        let is_ended = record.pop_if(|byte| *byte == b'\n').is_some();
        if !is_ended && read < MAX_RECORD_BYTES {
            // Half written, and taken back if the disk is full.
            self.reader.seek(SeekFrom::Start(self.position))?;
            return Ok(None);
        }
        self.position = self.position.saturating_add(read);
        Ok(Some(record))
    }

    /// What is behind the last whole record of a file that nobody writes to any more.
    pub fn into_rest(self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.take(MAX_RECORD_BYTES).read_to_end(&mut rest)?;
        Ok(rest)
    }
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'r> {
    /// When it was written.
    pub time: SystemTime,
    /// The stream it is from.
    pub stream: LogStream,
    /// Whether it ends its line.
    pub is_whole: bool,
    /// Its text.
    pub text: &'r [u8],
}

impl<'r> Record<'r> {
    /// `None`: it is no record.
    pub fn parse(bytes: &'r [u8]) -> Option<Self> {
        let mut parts = bytes.splitn(4, |byte| *byte == b' ');
        let time: Timestamp = str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let stream = match parts.next()? {
            b"stdout" => LogStream::Stdout,
            b"stderr" => LogStream::Stderr,
            _ => return None,
        };
        // More tags may follow a colon.
        let is_whole = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Record { time: time.into(), stream, is_whole, text: parts.next()? })
    }
}

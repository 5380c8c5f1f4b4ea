//! rkt's own standard output or standard error as a destination that never blocks the supervisor.
//!
//! Responsible for: queueing lines, writing none of them in two pieces that could be written in one and saying which are out. Must not know: apps beyond
//! the tag a line carries. Follows pipe(7) and tty_ioctl(4): a reader that stops reading must stop the apps, not the pod's
//! control.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memchr::{memchr, memrchr};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::SpliceFlags;

/// Lines are written together up to this size: what a pipe takes in one piece, whoever else writes to it (`PIPE_BUF`, pipe(7)).
/// An app that writes short lines would cost a system call for each.
const BATCH_BYTES: usize = 4096;

/// What is written at once to a file, which takes everything.
const FILE_BATCH_BYTES: usize = 64 * 1024;

/// Bytes that were written may stay in memory in front of those that were not, before they make room.
const SPENT_BYTES: usize = 128 * 1024;

/// How to write without waiting.
#[derive(Debug)]
enum Channel<'fd> {
    /// A pipe, opened once more: non-blocking mode belongs to the open description, and the inherited one is shared with the
    /// caller, who would find it changed.
    Pipe(OwnedFd),
    /// The same with a terminal.
    Terminal(OwnedFd),
    /// A socket.
    Socket(BorrowedFd<'fd>),
    /// A file, which does not make anybody wait; or whatever could not be opened once more.
    Inherited(BorrowedFd<'fd>),
}

/// Whether what is written to one descriptor can end up within what is written to the other: a write to either may be cut short,
/// which one to a file never is.
pub fn lead_to_one_reader(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let (Ok(one), Ok(other)) = (rustix::fs::fstat(one), rustix::fs::fstat(other)) else { return false };
    let kind = FileType::from_raw_mode(one.st_mode);
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) && kind != FileType::RegularFile
}

/// A queue of lines in front of a descriptor. `T` tags what was pushed at once for [`Sink::flush`] to return.
#[derive(Debug)]
pub struct Sink<'fd, T> {
    channel: Channel<'fd>,
    /// The lines, one behind the other, of which the first bytes are out already.
    text: Vec<u8>,
    spent: usize,
    /// What the text consists of, but for what was written.
    entries: VecDeque<Entry<T>>,
    /// Bytes of the first entry that are out already.
    written: usize,
    closed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    bytes: usize,
    /// Lines, and not bytes that pass as they are.
    is_lines: bool,
    tag: T,
}

impl<'fd, T> Sink<'fd, T> {
    /// Writes to `fd`.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        Self {
            channel: Self::channel(fd),
            text: Vec::new(),
            spent: 0,
            entries: VecDeque::new(),
            written: 0,
            closed: false,
        }
    }

    fn channel(fd: BorrowedFd<'fd>) -> Channel<'fd> {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Socket) => Channel::Socket(fd),
            Ok(kind @ (FileType::Fifo | FileType::CharacterDevice)) => {
                use std::os::fd::AsRawFd;
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match rustix::fs::open(path, flags, Mode::empty()) {
                    Ok(reopened) if kind == FileType::Fifo => Channel::Pipe(reopened),
                    Ok(reopened) => Channel::Terminal(reopened),
                    Err(_) => Channel::Inherited(fd),
                }
            }
            _ => Channel::Inherited(fd),
        }
    }

    /// The descriptor to wait for while [`Self::is_empty`] is false.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Pipe(fd) | Channel::Terminal(fd) => fd.as_fd(),
            Channel::Socket(fd) | Channel::Inherited(fd) => *fd,
        }
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that are not written.
    pub fn waiting_bytes(&self) -> usize {
        self.text.len().saturating_sub(self.spent)
    }

    /// Whether a part of a line is written, and the rest is not.
    pub fn is_mid_line(&self) -> bool {
        let last = self.spent.checked_sub(1).and_then(|last| self.text.get(last));
        self.written > 0 && last != Some(&b'\n')
    }

    /// Queues a line, or several.
    pub fn push(&mut self, lines: impl AsRef<[u8]>, tag: T) {
        self.fill(true, |text| {
            text.extend_from_slice(lines.as_ref());
            tag
        });
    }

    /// The same with bytes that need not stay together.
    pub fn push_bytes(&mut self, bytes: &[u8], tag: T) {
        self.fill(false, |text| {
            text.extend_from_slice(bytes);
            tag
        });
    }

    /// Queues what is appended to the text, if anything is: lines, or bytes that need not stay together.
    pub fn fill(&mut self, is_lines: bool, append: impl FnOnce(&mut Vec<u8>) -> T) {
        let start = self.text.len();
        let tag = append(&mut self.text);
        let bytes = self.text.len().saturating_sub(start);
        if bytes > 0 {
            self.entries.push_back(Entry { bytes, is_lines, tag });
        }
    }

    /// Writes what the reader takes at once of bytes that need not stay together, if nothing waits in front of them. Returns how many that
    /// are; the rest is to be queued, and errors are the queue's affair as well.
    pub fn pass(&self, bytes: &[u8]) -> usize {
        if self.closed || !self.is_empty() || bytes.is_empty() { 0 } else { self.write(bytes).unwrap_or(0) }
    }

    /// Whether [`Self::splice`] can do something.
    pub fn splices(&self) -> bool {
        matches!(self.channel, Channel::Pipe(_))
    }

    /// The same with so many bytes that are in a socket: the kernel moves them into the pipe, and the most of them are not copied.
    pub fn splice(&self, socket: BorrowedFd<'_>, bytes: usize) -> usize {
        let Channel::Pipe(pipe) = &self.channel else { return 0 };
        if self.closed || !self.is_empty() {
            return 0;
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        rustix::pipe::splice(socket, None, pipe, None, bytes, flags).unwrap_or(0)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.channel {
            Channel::Pipe(fd) | Channel::Terminal(fd) => rustix::io::write(fd, bytes),
            Channel::Socket(fd) => rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Channel::Inherited(fd) => rustix::io::write(fd, bytes),
        }
    }

    /// Writes as much as the reader takes and returns the tags of the lines that are through. When the reader has gone,
    /// that is all of them; other errors are returned once, and close the sink as well.
    pub fn flush(&mut self) -> (Vec<T>, Option<io::Error>) {
        let mut through = Vec::new();
        let mut failure = None;
        while !self.entries.is_empty() {
            if self.closed {
                through.extend(self.entries.drain(..).map(|entry| entry.tag));
                (self.spent, self.written) = (self.text.len(), 0);
                break;
            }
            let end = self.spent.saturating_add(self.batch());
            match self.write(self.text.get(self.spent..end).unwrap_or_default()) {
                Ok(count) => self.take(count, &mut through),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    self.closed = true;
                    failure = Some(errno.into());
                }
            }
        }
        if self.waiting_bytes() == 0 {
            self.text.clear();
            self.spent = 0;
        } else if self.spent >= SPENT_BYTES {
            self.text.drain(..self.spent);
            self.spent = 0;
        }
        (through, failure)
    }

    /// Bytes of the rest of the first line, and of as many whole lines behind it as can be written at once.
    fn batch(&self) -> usize {
        let waiting = self.text.get(self.spent..).unwrap_or_default();
        if let Some(first) = self.entries.front().filter(|entry| !entry.is_lines) {
            return first.bytes.saturating_sub(self.written);
        }
        let Some((fits, rest)) = waiting.split_at_checked(self.limit()) else { return waiting.len() };
        let whole = memrchr(b'\n', fits).map(|end| end.saturating_add(1));
        let to_end = || memchr(b'\n', rest).map(|end| fits.len().saturating_add(end).saturating_add(1));
        whole.or_else(to_end).unwrap_or(waiting.len())
    }

    /// How much is certainly written in one piece, if it is not a single line that is longer.
    fn limit(&self) -> usize {
        match &self.channel {
            // One that holds nothing takes all that it can hold.
            Channel::Pipe(pipe) if rustix::io::ioctl_fionread(pipe) == Ok(0) => {
                rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(BATCH_BYTES)
            }
            Channel::Pipe(_) | Channel::Terminal(_) | Channel::Socket(_) => BATCH_BYTES,
            Channel::Inherited(_) => FILE_BATCH_BYTES,
        }
    }

    /// So many bytes from the front of the queue are out.
    fn take(&mut self, count: usize, through: &mut Vec<T>) {
        self.spent = self.spent.saturating_add(count);
        let mut out = self.written.saturating_add(count);
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.bytes <= out) {
            out -= entry.bytes;
            through.push(entry.tag);
        }
        self.written = out;
    }
}

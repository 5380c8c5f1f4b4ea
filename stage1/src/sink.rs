//! rkt's own standard output or standard error as a destination that never blocks the supervisor.
//!
//! Responsible for: queueing lines, writing none of them in two pieces that could be written in one and saying which are out. Must not know: apps beyond
//! the tag a line carries. Follows pipe(7) and tty_ioctl(4): a reader that stops reading must stop the apps, not the pod's
//! control.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Lines are written together up to this size: what a pipe takes in one piece, whoever else writes to it (`PIPE_BUF`, pipe(7)).
/// An app that writes short lines would cost a system call for each.
const BATCH_BYTES: usize = 4096;

/// How to write without waiting.
#[derive(Debug)]
enum Channel<'fd> {
    /// A pipe or terminal, opened once more: non-blocking mode belongs to the open description, and the inherited one is
    /// shared with the caller, who would find it changed.
    Reopened(OwnedFd),
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

/// A queue of lines in front of a descriptor. `T` tags each line for [`Sink::flush`] to return.
#[derive(Debug)]
pub struct Sink<'fd, T> {
    channel: Channel<'fd>,
    queue: VecDeque<(Vec<u8>, T)>,
    /// Bytes of all lines in the queue.
    waiting_bytes: usize,
    /// Bytes of the first line that are out already.
    written: usize,
    closed: bool,
    /// Memory of the last batch, for the next one.
    scratch: Vec<u8>,
}

impl<'fd, T> Sink<'fd, T> {
    /// Writes to `fd`.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        Self {
            channel: Self::channel(fd),
            queue: VecDeque::new(),
            waiting_bytes: 0,
            written: 0,
            closed: false,
            scratch: Vec::new(),
        }
    }

    fn channel(fd: BorrowedFd<'fd>) -> Channel<'fd> {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Socket) => Channel::Socket(fd),
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                use std::os::fd::AsRawFd;
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                match rustix::fs::open(path, flags, Mode::empty()) {
                    Ok(reopened) => Channel::Reopened(reopened),
                    Err(_) => Channel::Inherited(fd),
                }
            }
            _ => Channel::Inherited(fd),
        }
    }

    /// The descriptor to wait for while [`Self::is_empty`] is false.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Reopened(fd) => fd.as_fd(),
            Channel::Socket(fd) | Channel::Inherited(fd) => *fd,
        }
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of the lines that are not written.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether a part of a line is written, and the rest is not.
    pub fn is_mid_line(&self) -> bool {
        self.written > 0
    }

    /// Queues a line.
    pub fn push(&mut self, line: Vec<u8>, tag: T) {
        self.waiting_bytes = self.waiting_bytes.saturating_add(line.len());
        self.queue.push_back((line, tag));
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.channel {
            Channel::Reopened(fd) => rustix::io::write(fd, bytes),
            Channel::Socket(fd) => rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Channel::Inherited(fd) => rustix::io::write(fd, bytes),
        }
    }

    /// Writes as much as the reader takes and returns the tags of the lines that are through. When the reader has gone,
    /// that is all of them; other errors are returned once, and close the sink as well.
    pub fn flush(&mut self) -> (Vec<T>, Option<io::Error>) {
        let mut through = Vec::new();
        while !self.queue.is_empty() {
            if self.closed {
                through.extend(self.queue.drain(..).map(|(_, tag)| tag));
                (self.waiting_bytes, self.written) = (0, 0);
                break;
            }
            let batch = self.batch();
            let written = self.write(&batch);
            self.scratch = batch;
            match written {
                Ok(count) => self.take(count, &mut through),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    self.closed = true;
                    let (tags, _) = self.flush();
                    through.extend(tags);
                    return (through, Some(errno.into()));
                }
            }
        }
        (through, None)
    }

    /// The rest of the first line, and as many whole lines behind it as can be written at once.
    fn batch(&mut self) -> Vec<u8> {
        let mut batch = std::mem::take(&mut self.scratch);
        batch.clear();
        let mut skipped = self.written;
        for (line, _) in &self.queue {
            let rest = line.get(skipped..).unwrap_or_default();
            if !batch.is_empty() && batch.len().saturating_add(rest.len()) > BATCH_BYTES {
                break;
            }
            batch.extend_from_slice(rest);
            skipped = 0;
        }
        batch
    }

    /// So many bytes from the front of the queue are out.
    fn take(&mut self, count: usize, through: &mut Vec<T>) {
        let mut out = self.written.saturating_add(count);
        while self.queue.front().is_some_and(|(line, _)| line.len() <= out) {
            let Some((line, tag)) = self.queue.pop_front() else { break };
            out -= line.len();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(line.len());
            through.push(tag);
        }
        self.written = out;
    }
}

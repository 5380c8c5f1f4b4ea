//! One stream between a guest port and a unix socket.
//!
//! Responsible for: its flow control, its buffer, and its end, direction by direction. Must not know: other connections,
//! queues. Follows the virtio specification 1.2, sections 5.10.6.3, "Buffer Space Management", and 5.10.6.5, "Stream
//! Sockets".

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::num::Wrapping;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice};

use super::packet::{Header, Op, Payload, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

/// What the guest may send before the host has taken it: the most that a slow host program makes a connection hold.
pub const BUFFER_BYTES: u32 = 256 * 1024;
/// The guest hears of freed buffer when this much of it is news; it never waits with more than this free.
const CREDIT_NEWS_BYTES: u32 = BUFFER_BYTES / 2;
/// Pieces of a packet that are written at once, of which Linux sends at most 18 (`MAX_SKB_FRAGS` and the first); a system call takes
/// 1024.
const MAX_PIECES: usize = 64;
/// "CONNECT 4294967295" and the end of the line.
const MAX_HANDSHAKE_BYTES: usize = 19;
/// How long the last bytes of a guest that has ended may take to be accepted by a slow host program, on an overloaded host too.
const FINISH_TIMEOUT: Duration = Duration::from_secs(8);

/// How far a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// A host program has connected and is saying which port it wants.
    Handshake(Vec<u8>),
    /// The guest has been, or is to be, asked.
    Requested {
        /// The request has gone out.
        sent: bool,
    },
    /// The guest has asked, and waits for the answer.
    Answering,
    /// Data flows.
    Established,
}

/// What the host side says when it opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The line is not complete yet.
    Incomplete,
    /// It wants this guest port.
    Port(u32),
    /// It says something else, or has gone.
    Invalid,
}

/// A packet to be sent to the guest, but for addresses and credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is for.
    pub op: Op,
    /// Depends on `op`.
    pub flags: u32,
    /// Bytes of payload.
    pub len: u32,
}

impl Outgoing {
    fn bare(op: Op) -> Self {
        Outgoing { op, flags: 0, len: 0 }
    }
}

/// One stream.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// How far it has come.
    pub phase: Phase,
    /// Waiting to be asked for its next packet.
    pub queued: bool,
    /// The socket is watched for room to write.
    pub is_watched_for_room: bool,
    /// The socket may have something to read. Cleared when a read finds nothing; the next edge sets it again.
    readable: bool,
    /// The host program will send no more: everything it sent was read.
    host_sent_all: bool,
    /// The host program will receive no more.
    host_deaf: bool,
    /// The guest will send no more.
    guest_sent_all: bool,
    /// The guest will receive no more.
    guest_deaf: bool,
    /// Shutdown flags that the guest was told.
    told: u32,
    credit_wanted: bool,
    /// From the guest, not yet accepted by the socket. At most [`BUFFER_BYTES`].
    backlog: VecDeque<u8>,
    /// Bytes that left `backlog` or never needed it.
    forwarded: Wrapping<u32>,
    /// Value of `forwarded` that the guest knows.
    announced: Wrapping<u32>,
    guest_buffer: u32,
    guest_forwarded: Wrapping<u32>,
    sent: Wrapping<u32>,
}

impl Connection {
    /// A connection over `stream`, which must not block.
    pub fn new(stream: UnixStream, phase: Phase) -> Self {
        Connection {
            stream,
            phase,
            queued: false,
            is_watched_for_room: false,
            readable: true,
            host_sent_all: false,
            host_deaf: false,
            guest_sent_all: false,
            guest_deaf: false,
            told: 0,
            credit_wanted: false,
            backlog: VecDeque::new(),
            forwarded: Wrapping(0),
            announced: Wrapping(0),
            guest_buffer: 0,
            guest_forwarded: Wrapping(0),
            sent: Wrapping(0),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Takes note of the guest's buffer, which every packet reports.
    pub fn update_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buf_alloc;
        self.guest_forwarded = Wrapping(header.fwd_cnt);
    }

    /// The guest asks for the state of the buffer.
    pub fn request_credit(&mut self) {
        self.credit_wanted = true;
    }

    /// The guest ends directions.
    pub fn guest_shutdown(&mut self, flags: u32) {
        self.guest_deaf |= flags & SHUTDOWN_RECEIVE != 0;
        self.guest_sent_all |= flags & SHUTDOWN_SEND != 0;
        self.end_host_input();
    }

    /// The guest is gone, but what it sent is still to be delivered.
    pub fn guest_gone(&mut self) {
        self.guest_shutdown(SHUTDOWN_RECEIVE | SHUTDOWN_SEND);
    }

    /// Whether the guest has ended both directions and everything it sent is delivered.
    pub fn is_over(&self) -> bool {
        self.guest_deaf && self.guest_sent_all && self.backlog.is_empty()
    }

    /// Whether both sides know that the host program is gone; only the guest's reset is missing.
    pub fn is_lingering(&self) -> bool {
        self.told == SHUTDOWN_RECEIVE | SHUTDOWN_SEND
    }

    /// The socket is ready for reading, or at its end.
    pub fn set_readable(&mut self) {
        self.readable = true;
    }

    /// The host program has closed its socket.
    pub fn set_hung_up(&mut self) {
        self.readable = true;
        self.drop_backlog();
    }

    /// Whether something waits for the socket to accept it.
    pub fn waits_for_room(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Takes data from the guest. `Err` means that the guest sent more than it was allowed to.
    pub fn accept(&mut self, payload: Payload) -> Result<(), ()> {
        if payload.len() > (BUFFER_BYTES as usize).saturating_sub(self.backlog.len()) {
            return Err(());
        }
        if self.host_deaf || self.guest_sent_all {
            self.forwarded += payload.len() as u32;
            return Ok(());
        }
        // Straight from guest memory into the socket unless older data has to go first.
        let mut sent = 0;
        while self.backlog.is_empty() && sent < payload.len() && !self.host_deaf {
            let written = write_together(&self.stream, payload.slices(), sent);
            let Some(count) = self.wrote(written) else { break };
            sent += count;
        }
        for slice in payload.slices() {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            self.keep(&slice.offset(skipped).map_err(|_| ())?);
        }
        Ok(())
    }

    fn keep(&mut self, slice: &VolatileSlice<()>) {
        if slice.is_empty() {
            return;
        }
        if self.host_deaf {
            self.forwarded += slice.len() as u32;
            return;
        }
        let mut copy = vec![0; slice.len()];
        slice.copy_to(&mut copy);
        self.backlog.extend(copy);
    }

    /// Counts what a write took; `None` if it took nothing.
    fn wrote(&mut self, written: io::Result<usize>) -> Option<usize> {
        match written {
            Ok(count) => {
                self.forwarded += count as u32;
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => {
                self.drop_backlog();
                None
            }
        }
    }

    /// Nobody will read what is left.
    fn drop_backlog(&mut self) {
        self.host_deaf = true;
        self.forwarded += self.backlog.len() as u32;
        self.backlog = VecDeque::new();
    }

    /// Writes to the socket what it accepts.
    pub fn flush(&mut self) {
        while !self.backlog.is_empty() {
            let written = write(&self.stream, self.backlog.as_slices().0);
            match self.wrote(written) {
                Some(count) => drop(self.backlog.drain(..count.min(self.backlog.len()))),
                None => break,
            }
        }
        if self.backlog.is_empty() {
            // An idle connection holds no buffer.
            self.backlog = VecDeque::new();
        }
        self.end_host_input();
    }

    /// Tells the host program about the end of the guest's data, once all of it is delivered.
    fn end_host_input(&mut self) {
        if self.guest_sent_all && self.backlog.is_empty() && !self.host_deaf {
            self.host_deaf = true;
            // It fails when the host program has closed its end, which it then knows.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Delivers what is left, waiting for a slow host program.
    pub fn finish(mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let patient = self
            .stream
            .set_nonblocking(false)
            .and_then(|()| self.stream.set_write_timeout(Some(FINISH_TIMEOUT)));
        let delivered = patient.and_then(|()| self.deliver());
        if let Err(error) = delivered {
            log::warn!(
                "virtio-vsock: the last {} bytes of a stream were not accepted: {error}",
                self.backlog.len()
            );
        }
    }

    fn deliver(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            match write(&self.stream, self.backlog.as_slices().0) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads more of the line with which a host program says what it wants. Not a byte beyond it is read.
    pub fn read_handshake(&mut self) -> Handshake {
        let Phase::Handshake(line) = &mut self.phase else { return Handshake::Invalid };
        loop {
            let mut byte = [0; 1];
            match self.stream.read(&mut byte) {
                Ok(0) => return Handshake::Invalid,
                Ok(_) if byte == *b"\n" => return parse_handshake(line),
                Ok(_) if line.len() == MAX_HANDSHAKE_BYTES => return Handshake::Invalid,
                Ok(_) => line.extend(byte),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Handshake::Incomplete,
                Err(_) => return Handshake::Invalid,
            }
        }
    }

    /// Tells the host program that the guest has accepted. `Err` if it cannot be told.
    pub fn confirm(&mut self, host_port: u32) -> io::Result<()> {
        let line = format!("OK {host_port}\n");
        // Nothing was written before it.
        let count = write(&self.stream, line.as_bytes())?;
        if count == line.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }

    /// Whether [`next_packet`](Self::next_packet) may have something.
    pub fn has_packet(&self) -> bool {
        match self.phase {
            Phase::Handshake(_) => false,
            Phase::Requested { sent } => !sent,
            Phase::Answering => true,
            Phase::Established => self.may_read() || self.untold() != 0 || self.owes_credit(),
        }
    }

    fn may_read(&self) -> bool {
        self.readable && !self.host_sent_all && !self.guest_deaf && self.credit() > 0
    }

    fn credit(&self) -> u32 {
        self.guest_buffer.saturating_sub((self.sent - self.guest_forwarded).0)
    }

    fn owes_credit(&self) -> bool {
        self.credit_wanted || (self.forwarded - self.announced).0 >= CREDIT_NEWS_BYTES
    }

    /// Shutdown flags that the guest is to be told.
    fn untold(&self) -> u32 {
        let send = if self.host_sent_all { SHUTDOWN_SEND } else { 0 };
        // After the guest's own end of sending, it does not matter to it who listens.
        let receive = if self.host_deaf && !self.guest_sent_all { SHUTDOWN_RECEIVE } else { 0 };
        (send | receive) & !self.told
    }

    /// The next packet for the guest, its data in `payload`.
    pub fn next_packet(&mut self, payload: Option<VolatileSlice<()>>) -> Option<Outgoing> {
        match self.phase {
            Phase::Handshake(_) | Phase::Requested { sent: true } => return None,
            Phase::Requested { sent: false } => {
                self.phase = Phase::Requested { sent: true };
                return Some(Outgoing::bare(Op::Request));
            }
            Phase::Answering => {
                self.phase = Phase::Established;
                return Some(Outgoing::bare(Op::Response));
            }
            Phase::Established => {}
        }
        if self.may_read()
            && let Some(payload) = payload
            && let Some(len) = self.read_into(payload)
        {
            return Some(Outgoing { op: Op::Data, flags: 0, len });
        }
        let untold = self.untold();
        if untold != 0 {
            self.told |= untold;
            return Some(Outgoing { op: Op::Shutdown, flags: self.told, len: 0 });
        }
        self.owes_credit().then(|| Outgoing::bare(Op::CreditUpdate))
    }

    /// Reads from the socket straight into guest memory. `None` if there is nothing.
    fn read_into(&mut self, payload: VolatileSlice<()>) -> Option<u32> {
        let wanted = payload.len().min(self.credit() as usize);
        let mut target = payload.subslice(0, wanted).ok().filter(|target| !target.is_empty())?;
        loop {
            match (&self.stream).read_volatile(&mut target).map_err(io_error) {
                Ok(0) => {
                    self.host_sent_all = true;
                    return None;
                }
                Ok(count) => {
                    self.sent += count as u32;
                    return Some(count as u32);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return None;
                }
                Err(_) => {
                    self.host_sent_all = true;
                    self.drop_backlog();
                    return None;
                }
            }
        }
    }

    /// Buffer size and bytes forwarded, for the header of a packet that is about to go out.
    pub fn announce_credit(&mut self) -> (u32, u32) {
        self.credit_wanted = false;
        self.announced = self.forwarded;
        (BUFFER_BYTES, self.forwarded.0)
    }
}

/// Writes bytes of the host's memory. The standard library sends them, with a system call that no other part of the machine needs.
fn write(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(stream, bytes)?)
}

/// Writes guest memory without its first `skipped` bytes, all pieces at once: a reader that wakes up for each of them costs more than
/// the copy.
fn write_together(
    stream: &UnixStream,
    slices: &[VolatileSlice<()>],
    mut skipped: usize,
) -> io::Result<usize> {
    let mut pieces = Vec::with_capacity(slices.len());
    for slice in slices {
        if skipped >= slice.len() {
            skipped -= slice.len();
            continue;
        }
        let guard = slice.ptr_guard();
        pieces.push(libc::iovec {
            iov_base: guard.as_ptr().wrapping_add(skipped).cast_mut().cast(),
            iov_len: guard.len() - skipped,
        });
        skipped = 0;
    }
    let pieces = pieces.get(..MAX_PIECES).unwrap_or(&pieces);
    // SAFETY: each piece is guest memory, which stays mapped for as long as the slices are borrowed and which no Rust reference covers;
    // the kernel only reads it.
    let count = unsafe { libc::writev(stream.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn parse_handshake(line: &[u8]) -> Handshake {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("CONNECT "))
        .and_then(|port| port.parse().ok())
        .map_or(Handshake::Invalid, Handshake::Port)
}

fn io_error(error: VolatileMemoryError) -> io::Error {
    match error {
        VolatileMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    }
}

//! The apps' output in the host's journal.
//!
//! Responsible for: one entry a line, by the native protocol, without ever waiting for journald; what it does not take in time
//! is dropped and counted. Must not know: who reads it (`journalctl RKT_POD_UUID=…`). Follows systemd's "Native Journal
//! Protocol", sd_journal_sendv(3), and systemd.exec(5) for levels.

use std::collections::VecDeque;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guest_api::{AppId, StdioStream};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use uuid::Uuid;

use crate::line_cutter::LineCutter;

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest message: `LineMax=` of journald.conf(5), which cuts units' output at the same length.
const MAX_LINE_BYTES: usize = 48 * 1024;

/// What may wait for journald: some thousand lines, which is what an app writes in a burst.
const MAX_WAITING_BYTES: usize = 512 * 1024;

/// Level of an app's line that does not begin with one: `SyslogLevel=` of a unit, of both its streams.
const LEVEL: u8 = b'6';

/// The most urgent level that an app may give a line, an alert. journald writes emergencies, one level above, to the terminals
/// of everybody who is logged in, as they are: no text of a guest's goes there.
const MOST_URGENT: u8 = b'1';

/// Facility of an app: that of daemons, as of units.
const FACILITY: &str = "3";

/// journald ends, and another one takes its place, while packages are upgraded.
const RECONNECT_ATTEMPTS: u8 = 2;

#[derive(Debug)]
struct App {
    id: AppId,
    name: String,
    pid: u32,
    stdout: LineCutter,
    stderr: LineCutter,
}

/// The journal's end that the pod writes to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    socket: Option<OwnedFd>,
    pod: Uuid,
    apps: Vec<App>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    dropped: u64,
    complained: bool,
}

impl Journal {
    /// If the host has one.
    pub fn of_host(pod: Uuid) -> Option<Self> {
        Self::at(Path::new(SOCKET), pod)
    }

    /// The same with its socket elsewhere.
    pub fn at(path: &Path, pod: Uuid) -> Option<Self> {
        let socket = connect(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            socket: Some(socket),
            pod,
            apps: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            dropped: 0,
            complained: false,
        })
    }

    /// From now on the app's process `pid` writes.
    pub fn started(&mut self, id: AppId, name: &str, pid: u32) {
        let cutter = || LineCutter::new(MAX_LINE_BYTES);
        self.apps.retain(|app| app.id != id);
        self.apps.push(App { id, name: name.to_owned(), pid, stdout: cutter(), stderr: cutter() });
    }

    /// The same with another process of the app.
    pub fn speaks(&mut self, id: AppId, pid: u32) {
        if let Some(app) = self.apps.iter_mut().find(|app| app.id == id) {
            app.pid = pid;
        }
    }

    /// The app writes nothing any more.
    pub fn forget(&mut self, id: AppId) {
        self.apps.retain(|app| app.id != id);
    }

    /// The next bytes of a stream. Says, once, that entries are missing.
    pub fn push(&mut self, id: AppId, stream: StdioStream, data: &[u8]) -> Option<String> {
        let entries = self.cut(id, stream, |cutter, line| cutter.push(data, line));
        self.enqueue(entries)
    }

    /// Nothing more comes from the stream: what is left of it counts as a line.
    pub fn close(&mut self, id: AppId, stream: StdioStream) -> Option<String> {
        let entries = self.cut(id, stream, |cutter, line| cutter.finish(line));
        self.enqueue(entries)
    }

    /// Nothing more comes from any stream.
    pub fn close_all(&mut self) -> Option<String> {
        let ids: Vec<AppId> = self.apps.iter().map(|app| app.id).collect();
        let mut complaint = None;
        for id in ids {
            for stream in [StdioStream::Stdout, StdioStream::Stderr] {
                complaint = complaint.or(self.close(id, stream));
            }
        }
        complaint
    }

    fn cut(
        &mut self,
        id: AppId,
        stream: StdioStream,
        cut: impl FnOnce(&mut LineCutter, &mut dyn FnMut(&[u8])),
    ) -> Vec<Vec<u8>> {
        let pod = self.pod;
        let Some(app) = self.apps.iter_mut().find(|app| app.id == id) else { return Vec::new() };
        let (name, pid) = (app.name.clone(), app.pid);
        let cutter = match stream {
            StdioStream::Stdout => &mut app.stdout,
            StdioStream::Stderr => &mut app.stderr,
        };
        let mut entries = Vec::new();
        cut(cutter, &mut |line| entries.push(entry(pod, &name, pid, stream, line)));
        entries
    }

    fn enqueue(&mut self, entries: Vec<Vec<u8>>) -> Option<String> {
        for entry in entries {
            if self.waiting_bytes.saturating_add(entry.len()) > MAX_WAITING_BYTES {
                self.flush();
            }
            if self.waiting_bytes.saturating_add(entry.len()) > MAX_WAITING_BYTES {
                self.dropped = self.dropped.saturating_add(1);
                continue;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_add(entry.len());
            self.waiting.push_back(entry);
        }
        self.flush();
        let first = self.dropped > 0 && !std::mem::replace(&mut self.complained, true);
        first.then(|| "warning: the journal is incomplete: journald does not keep up".to_owned())
    }

    /// What must become writable first, if something waits.
    pub fn blocked(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Passes on what journald takes.
    pub fn flush(&mut self) {
        let mut attempts = RECONNECT_ATTEMPTS;
        while let Some(entry) = self.waiting.front() {
            let sent = match &self.socket {
                Some(socket) => send(socket, entry),
                None => Err(Errno::NOTCONN),
            };
            match sent {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS) => return,
                Err(Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE) if attempts > 0 => {
                    attempts -= 1;
                    self.socket = connect(&self.path).ok();
                    continue;
                }
                Err(_) => self.dropped = self.dropped.saturating_add(1),
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(entry.len());
            self.waiting.pop_front();
        }
    }

    /// The same, waiting for journald until then. Says how much is lost for good.
    pub fn finish(&mut self, until: Option<Instant>) -> Option<String> {
        loop {
            self.flush();
            let left = until.map_or(Duration::ZERO, |it| it.saturating_duration_since(Instant::now()));
            let Some(socket) = self.blocked().filter(|_| !left.is_zero()) else { break };
            let timeout = Timespec::try_from(left).ok();
            let _ = rustix::event::poll(
                &mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)],
                timeout.as_ref(),
            );
        }
        let unsent = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        let lost = self.dropped.saturating_add(unsent);
        (lost > 0).then(|| format!("warning: {lost} lines of the apps are missing in the journal"))
    }
}

fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// An entry. A line may hold anything, so it goes in the form with a length.
fn entry(pod: Uuid, app: &str, pid: u32, stream: StdioStream, line: &[u8]) -> Vec<u8> {
    let (level, text) = match line {
        [b'<', level @ b'0'..=b'7', b'>', text @ ..] => ((*level).max(MOST_URGENT), text),
        text => (LEVEL, text),
    };
    let text = text.trim_ascii_end();
    let stream = match stream {
        StdioStream::Stdout => "stdout",
        StdioStream::Stderr => "stderr",
    };
    let mut entry = format!(
        "PRIORITY={}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={app}\nSYSLOG_PID={pid}\nRKT_POD_UUID={pod}\n\
         RKT_APP_NAME={app}\nRKT_STREAM={stream}\nMESSAGE\n",
        char::from(level)
    )
    .into_bytes();
    entry.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
    entry.extend_from_slice(text);
    entry.push(b'\n');
    entry
}

/// As a datagram, or, if it is too large for one, in a sealed file.
pub(super) fn send(socket: &OwnedFd, entry: &[u8]) -> Result<(), Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::send(socket, entry, flags) {
        Err(Errno::MSGSIZE) => {}
        other => return other.map(drop),
    }
    let file = rustix::fs::memfd_create("rkt-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(entry).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    let descriptors = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&[])], &mut control, flags).map(drop)
}

//! The socket on which an app says that it has started.
//!
//! Responsible for: making it, and telling what the app's own processes say that concerns the host from everything else that
//! arrives. Must not know: what waits for it. Follows sd_notify(3), unix(7) (SCM_CREDENTIALS) and rkt-reference 6.3 and 6.8.
//!
//! Each app has a socket of its own, bound to a path that only its root shows. A process of another app that reaches it all
//! the same, through /proc, is not heard.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use guest_api::{AppId, MAX_STATUS_BYTES, Notice};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use super::cgroup;
use crate::InitError;
use crate::mounts::NOTIFY_SOCKETS;

/// Where the app finds it: the path that systemd has always used, and rkt with it.
pub const TARGET: &str = "/run/systemd/notify";

/// Longest message that is looked at: what systemd takes.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Messages that are read at a time; PID 1 has other things to do than listen to one app.
const TURN_MESSAGES: usize = 16;

/// What an app has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// It is ready.
    pub ready: bool,
    /// It is alive: what a watchdog wants to hear.
    pub alive: bool,
    /// What it is doing, as it said last.
    pub status: Option<String>,
}

/// One app's socket.
#[derive(Debug)]
pub struct NotifySocket {
    app: AppId,
    socket: OwnedFd,
}

impl NotifySocket {
    /// Makes the app's socket.
    pub fn listen(app: AppId) -> Result<Self, InitError> {
        let failed = InitError::kernel("make a socket for the app's notifications");
        Self::listen_at(app, &path(app)).map_err(failed)
    }

    /// Makes a socket at `path`, which anybody may write to.
    pub fn listen_at(app: AppId, path: &Path) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, Mode::from_raw_mode(0o666))?;
        Ok(Self { app, socket })
    }

    /// What the app says in the messages that wait.
    pub fn hear(&self) -> Said {
        self.hear_where(|pid| cgroup::is_of_another_app(self.app, pid))
    }

    pub(super) fn hear_where(&self, is_foreign: impl Fn(i32) -> bool) -> Said {
        let mut said = Said::default();
        for _ in 0..TURN_MESSAGES {
            let mut message = [0; MAX_MESSAGE_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            // Descriptors find no room, so the kernel drops them: a sender that waits for that (sd_notify_barrier(3)) goes on.
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut message)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let received = match rustix::net::recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Ok(received) => received,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            let sender = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    Some(credentials.pid.as_raw_nonzero().get())
                }
                _ => None,
            });
            let whole = !received.flags.contains(ReturnFlags::TRUNC);
            let text = message.get(..received.bytes).filter(|_| whole).unwrap_or_default();
            if sender.is_some_and(|pid| !is_foreign(pid)) {
                said.hear(text);
            }
        }
        said
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where the app's socket is in PID 1's tree.
pub fn path(app: AppId) -> PathBuf {
    Path::new(NOTIFY_SOCKETS).join(app.0.to_string())
}

impl Said {
    /// Adds what a message says.
    pub fn hear(&mut self, message: &[u8]) {
        message.split(|byte| *byte == b'\n').for_each(|line| self.take(line));
    }

    fn take(&mut self, line: &[u8]) {
        match line {
            b"READY=1" => self.ready = true,
            b"WATCHDOG=1" => self.alive = true,
            // A longer one is no sentence, and half of one may say the opposite.
            [b'S', b'T', b'A', b'T', b'U', b'S', b'=', status @ ..] if status.len() <= MAX_STATUS_BYTES => {
                if let Ok(status) = std::str::from_utf8(status) {
                    self.status = Some(status.to_owned());
                }
            }
            _ => {}
        }
    }

    /// What the host is told.
    pub fn notices(self) -> Vec<Notice> {
        let status = self.status.map(Notice::Status);
        status.into_iter().chain(self.alive.then_some(Notice::Alive)).collect()
    }
}

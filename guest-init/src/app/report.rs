//! What a new process tells PID 1 before it executes its program.
//!
//! Responsible for: handing over the process's mount name space, and the reason why it could not be executed. Must not
//! know: how a process is made. Follows unix(7) (SOCK_SEQPACKET, SCM_RIGHTS).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Longest reason: a page, more than any sentence with two paths of PATH_MAX/2 in it.
const MAX_REASON_BYTES: usize = 4096;

/// Comes with a descriptor; a socket carries none without a byte.
const NAME_SPACE: &[u8] = b"\0";

/// PID 1's end.
#[derive(Debug)]
pub struct Report(OwnedFd);

/// The process's end, closed when its program is executed.
#[derive(Debug)]
pub struct Reporter(OwnedFd);

/// Something a process had to say.
#[derive(Debug)]
pub enum News {
    /// Nothing yet.
    None,
    /// The mount name space that it has made for itself.
    MountNamespace(OwnedFd),
    /// It has executed its program, or was killed before.
    Executed,
    /// It could not, for this reason.
    Failed(String),
}

/// Two connected ends.
pub fn pair() -> Result<(Report, Reporter), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let (report, reporter) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Report(report), Reporter(reporter)))
}

impl Report {
    /// What comes next, without waiting.
    pub fn next(&self) -> News {
        let mut message = vec![0; MAX_REASON_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut message)], &mut control, flags) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return News::None,
                Err(_) => return News::Executed,
            }
        };
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        message.truncate(received);
        match descriptor {
            Some(namespace) => News::MountNamespace(namespace),
            None if message.is_empty() => News::Executed,
            None => News::Failed(String::from_utf8_lossy(&message).into_owned()),
        }
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Reporter {
    /// Hands over the mount name space of the calling process.
    pub fn hand_over(&self, namespace: &OwnedFd) -> Result<(), Errno> {
        let descriptors = [namespace.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::NOBUFS);
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(NAME_SPACE)], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
    }

    /// Says why the program was not executed. If even that fails there is nothing left to do.
    pub fn fail(&self, mut reason: String) {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        let _ = rustix::net::send(&self.0, reason.as_bytes(), SendFlags::NOSIGNAL);
    }
}

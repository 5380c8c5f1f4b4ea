//! How the file server has a device node made.
//!
//! Responsible for: answering its mknodat(2) of one, which its filter refuses, with what the process says that makes them. Must not know:
//! who in the file server makes the call, which is a library that knows of none of this. Follows signal-safety(7), unix(7).

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::request::Request;
use crate::process::{self, Call};

/// Whom to ask.
static SOCKET: OnceLock<OwnedFd> = OnceLock::new();

/// From now on, a mknodat(2) that this process's filter refuses is asked for on the socket.
pub fn ask(socket: OwnedFd) {
    // A second one would be a bug, which costs its nodes and nothing else.
    let _ = SOCKET.set(socket);
    process::answer_refused_calls(answer);
}

/// Runs in a signal's handler. Returns what the call is to return.
fn answer(call: &Call) -> Option<i64> {
    let [.., mode, _] = call.arguments;
    // What has a device's bit is what the filter refuses of mknodat(2).
    if i64::from(call.number) != libc::SYS_mknodat || mode as u32 & libc::S_IFCHR == 0 {
        return None;
    }
    Some(match make(call.arguments) {
        Ok(()) => 0,
        Err(errno) => -i64::from(errno.raw_os_error()),
    })
}

fn make([directory, name, mode, device]: [u64; 4]) -> Result<(), Errno> {
    // Somebody else than root has no capability to make one here, even if the guest's kernel thinks so.
    if !rustix::process::geteuid().is_root() {
        return Err(Errno::PERM);
    }
    let directory = directory as u32 as RawFd;
    if directory < 0 || name == 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: whoever makes the call has the directory open until it returns, which is after this.
    let directory = unsafe { BorrowedFd::borrow_raw(directory) };
    // SAFETY: whoever makes the call passes a string that ends with a NUL, as to any call with a path, and waits for its end.
    let name = unsafe { CStr::from_ptr(name as *const libc::c_char) };
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    let request = Request {
        mode: mode as u32,
        device: device as u32,
        umask: umask.bits(),
        group: rustix::process::getegid().as_raw(),
        name: name.to_bytes(),
    };
    exchange(SOCKET.get().ok_or(Errno::IO)?, &request, directory)
}

/// Says what is wanted and waits for the answer. Whoever makes nodes and cannot be reached is a device that does not work.
pub(super) fn exchange(
    socket: &OwnedFd,
    request: &Request<'_>,
    directory: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let bytes = request.encode()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let directories = [directory];
    if !control.push(SendAncillaryMessage::ScmRights(&directories)) {
        return Err(Errno::IO);
    }
    let sent =
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes.bytes())], &mut control, SendFlags::NOSIGNAL);
    sent.map_err(|_| Errno::IO)?;
    let mut answer = [0; size_of::<i32>()];
    let mut nothing = RecvAncillaryBuffer::default();
    let heard =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut answer)], &mut nothing, RecvFlags::empty());
    match heard.map_err(|_| Errno::IO)?.bytes {
        count if count != answer.len() => Err(Errno::IO),
        _ => match i32::from_le_bytes(answer) {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        },
    }
}

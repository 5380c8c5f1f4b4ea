//! How device nodes are made for somebody who may be anybody.
//!
//! Responsible for: one request after the other, each with the directory that it is about, until nobody asks any more. Must not know: what
//! the directories are. Follows unix(7), SCM_RIGHTS.
//!
//! A directory is believed in if nobody could use a device in it: everything that the file server sees is mounted so.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags};
use rustix::thread::Gid;

use super::request::{REQUEST_BYTES, Request};
use crate::users::Numbers;

/// Answers requests of somebody whose users have these numbers, until nobody is left to make any.
pub(super) fn serve(socket: &OwnedFd, numbers: Numbers) -> io::Result<()> {
    // One more byte, so that a request that is too long is seen to be.
    let mut bytes = [0; REQUEST_BYTES + 1];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let heard = match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => continue,
            heard => heard?.bytes,
        };
        if heard == 0 {
            return Ok(());
        }
        let directory = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let request = Request::parse(bytes.get(..heard).unwrap_or_default());
        let made = request.and_then(|request| make(&request, numbers, directory.ok_or(Errno::BADF)?.as_fd()));
        let answer = made.map_or_else(Errno::raw_os_error, |()| 0).to_le_bytes();
        let mut nothing = SendAncillaryBuffer::default();
        let parts = [IoSlice::new(&answer)];
        match rustix::net::sendmsg(socket, &parts, &mut nothing, SendFlags::NOSIGNAL) {
            Ok(_) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The kernel says whether it is a directory, and one that can be written to.
pub(super) fn make(request: &Request<'_>, numbers: Numbers, directory: BorrowedFd<'_>) -> Result<(), Errno> {
    if !rustix::fs::fstatvfs(directory)?.f_flag.contains(StatVfsMountFlags::NODEV) {
        return Err(Errno::PERM);
    }
    // The node is born with its group and its mode: nobody ever sees it with others.
    let group = Gid::from_raw(numbers.on_host(request.group).ok_or(Errno::INVAL)?);
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::process::umask(Mode::from_raw_mode(request.umask));
    let mode = Mode::from_raw_mode(request.mode);
    rustix::fs::mknodat(directory, request.name, request.file_type(), mode, request.device.into())
}

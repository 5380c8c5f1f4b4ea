//! Sockets that apps are started with: socket activation.
//!
//! Responsible for: making them, and giving them to a process under the numbers that it expects. Must not know: who connects.
//! Follows sd_listen_fds(3), guest-api (`ListeningSocket`) and rkt-reference 6.10.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use guest_api::{ListeningSocket, MAX_LISTENING_SOCKETS};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::InitError;

/// `SD_LISTEN_FDS_START`: the number of the first one.
const FIRST: i32 = 3;

/// Numbers that PID 1 has no descriptor of its own at, so that none is in the way.
pub const RESERVED: std::ops::Range<i32> = FIRST..FIRST + MAX_LISTENING_SOCKETS as i32;

/// Connections that wait for the app to accept them: what systemd asks for (`Backlog=`), which the kernel lowers to its own limit.
const BACKLOG: i32 = 4096;

/// Listens at `address`.
pub fn listen_at(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Makes the sockets that an app is started with.
pub fn make(wanted: &[ListeningSocket]) -> Result<Vec<OwnedFd>, InitError> {
    if wanted.len() > MAX_LISTENING_SOCKETS {
        return Err(InitError::Specification(format!("an app with {} sockets", wanted.len())));
    }
    wanted
        .iter()
        .map(|socket| {
            let doing = format!("listen on {} for port {:?}", socket.address, socket.name);
            listen_at(socket.address).map_err(InitError::kernel(doing))
        })
        .collect()
}

/// Gives the calling process its sockets, under the numbers that the protocol has for them. Nothing else of it may be there.
pub fn take(sockets: &[OwnedFd]) -> Result<(), InitError> {
    for (number, socket) in RESERVED.zip(sockets) {
        // SAFETY: dup2 closes what is at `number`, which nothing in this process owns: PID 1 keeps these numbers free.
        if unsafe { libc::dup2(socket.as_raw_fd(), number) } < 0 {
            return Err(InitError::kernel("give the app its sockets")(crate::app::last_errno()));
        }
    }
    Ok(())
}

/// What tells process `pid` of its sockets.
pub fn variables(wanted: &[ListeningSocket], pid: u32) -> Vec<(String, String)> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = wanted.iter().map(|socket| socket.name.as_str()).collect();
    [
        ("LISTEN_FDS", wanted.len().to_string()),
        ("LISTEN_PID", pid.to_string()),
        ("LISTEN_FDNAMES", names.join(":")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

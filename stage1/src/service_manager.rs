//! The service manager that started rkt, if it wants to be told.
//!
//! Responsible for: saying that the pod is ready, or stops. Must not know: when that is. Follows sd_notify(3): rkt run as a
//! unit with `Type=notify`.
//!
//! stage1 starts no other programs, so nobody else can speak in its name with the variable that it leaves in place.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// How to reach it. Default: nobody wants to be told.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    has_said_ready: bool,
    has_said_stopping: bool,
}

impl ServiceManager {
    /// The one that the environment names. An address of a kind that this process cannot speak to counts as none.
    pub fn of_caller() -> Self {
        std::env::var_os(VARIABLE).and_then(|address| Self::at(&address).ok()).unwrap_or_default()
    }

    /// The one at `address`: a path, or an abstract name behind `@`.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the pod.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address)), ..Self::default() })
    }

    /// Every app was started.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.has_said_ready, true) {
            self.say("READY=1");
        }
    }

    /// The pod is about to end.
    pub fn stopping(&mut self) {
        if !std::mem::replace(&mut self.has_said_stopping, true) {
            self.say("STOPPING=1");
        }
    }

    /// A manager that cannot be reached finds out by itself what becomes of the pod.
    fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

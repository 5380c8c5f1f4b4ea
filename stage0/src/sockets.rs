//! Sockets that a service listens on.
//!
//! Responsible for: systemd's socket activation, a unix socket's file from its making to its removal. Must not know: what is
//! served. Follows sd_listen_fds(3) and unix(7).

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::error::{Context, FileContext, Result, Stage0Error};

/// A unix socket is for its owner and the group, as pods and images are.
const UNIX_SOCKET_MASK: Mode = Mode::from_raw_mode(0o117);

/// A socket that connections are taken from.
#[derive(Debug)]
pub enum Listener {
    /// On a port.
    Tcp(TcpListener),
    /// On a file.
    Unix(UnixListener),
}

/// Makes a unix socket for its owner and, if root makes it, `group`. A stale one of the same name is replaced.
pub fn listen_on_file(path: &Path, group: Option<u32>) -> Result<(UnixListener, SocketFile)> {
    if !path.is_absolute() {
        return Err(Stage0Error::refused(format!("the path in unix://{} must be absolute", path.display())));
    }
    remove_stale(path)?;
    // No thread has been started yet, so nobody else makes a file under this mask.
    let mask = rustix::process::umask(UNIX_SOCKET_MASK);
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.file("listen on", path)?;
    let file = SocketFile::of(path)?;
    if let Some(group) = group.filter(|_| rustix::process::geteuid().is_root()) {
        std::os::unix::fs::lchown(path, None, Some(group)).file("set the group of", path)?;
    }
    Ok((listener, file))
}

/// Removes the socket of a service that was killed. One that still answers stays, and so does any other file: `bind` says
/// that the address is in use.
fn remove_stale(path: &Path) -> Result<()> {
    let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
    let refused = UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    if is_socket && refused {
        std::fs::remove_file(path).file("remove", path)?;
    }
    Ok(())
}

/// The file of a unix socket of ours. Dropping it removes the file, unless somebody has replaced it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Result<Self> {
        let identity = identity(path).file("inspect", path)?;
        Ok(SocketFile { path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // The service ends; a socket that stays is stale, and the next service removes it.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|file| (file.dev(), file.ino()))
}

/// The descriptors that systemd passed to this process.
pub fn passed_sockets() -> Result<Vec<OwnedFd>> {
    let descriptors = sd_notify::listen_fds().context("cannot use the sockets of the service manager")?;
    // SAFETY: `listen_fds` has just worked on these descriptors, so they are open; they are this process's by the protocol of
    // sd_listen_fds(3), and nothing else in it uses them.
    Ok(descriptors.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect())
}

/// A socket that somebody else made. Errors: it does not listen for streams.
pub fn adopt(socket: OwnedFd) -> Result<Listener> {
    let what = "cannot use a socket of the service manager";
    let wrong = || Stage0Error::refused(format!("{what}: it does not listen for streams"));
    let is_stream = sockopt::socket_type(&socket).context(what)? == SocketType::STREAM;
    if !is_stream || !sockopt::socket_acceptconn(&socket).context(what)? {
        return Err(wrong());
    }
    match rustix::net::getsockname(&socket).context(what)?.address_family() {
        AddressFamily::UNIX => Ok(Listener::Unix(socket.into())),
        AddressFamily::INET | AddressFamily::INET6 => Ok(Listener::Tcp(socket.into())),
        _ => Err(wrong()),
    }
}

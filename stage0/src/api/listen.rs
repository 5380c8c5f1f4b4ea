//! The sockets that the API is served on.
//!
//! Responsible for: `--listen`, systemd's socket activation, a unix socket's file from its making to its removal. Must
//! not know: gRPC. Follows rkt-reference.md 7.1, sd_listen_fds(3) and unix(7).

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::group;
use crate::log::Log;

/// Where the service listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "localhost:15441";
/// What the address of a unix socket begins with.
const UNIX_SCHEME: &str = "unix://";
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

/// All of them.
#[derive(Debug)]
pub struct Listeners {
    /// At least one.
    pub sockets: Vec<Listener>,
    /// Removed when this is dropped.
    _file: Option<SocketFile>,
}

impl Listeners {
    /// The sockets that systemd passed, else one at `address`. Errors: both are given, or the address cannot be had.
    pub fn open(address: Option<&str>, log: Log) -> Result<Self> {
        let passed = passed_sockets()?;
        match (passed.is_empty(), address) {
            (false, Some(_)) => {
                Err(Stage0Error::refused("--listen cannot be used together with socket activation"))
            }
            (false, None) => {
                let sockets = passed.into_iter().map(adopt).collect::<Result<_>>()?;
                Ok(Listeners { sockets, _file: None })
            }
            (true, address) => Self::at(address.unwrap_or(DEFAULT_ADDRESS), log),
        }
    }

    fn at(address: &str, log: Log) -> Result<Self> {
        if let Some(path) = address.strip_prefix(UNIX_SCHEME) {
            let (listener, file) = listen_on_file(Path::new(path))?;
            return Ok(Listeners { sockets: vec![Listener::Unix(listener)], _file: Some(file) });
        }
        let listener = listen_on_port(address).context(format!("cannot listen on {address:?}"))?;
        if let Ok(address) = listener.local_addr() {
            log.debug(format!("listening on {address}"));
        }
        Ok(Listeners { sockets: vec![Listener::Tcp(listener)], _file: None })
    }
}

/// `HOST:PORT`, with all addresses of the machine if there is no host. Of a host's addresses the first one counts, IPv4 before
/// IPv6: the next one would be another service to clients that try them in this order too.
fn listen_on_port(address: &str) -> Result<TcpListener> {
    let all = if address.starts_with(':') { format!("[::]{address}") } else { address.to_owned() };
    let mut candidates: Vec<SocketAddr> =
        all.to_socket_addrs().context("the address must be HOST:PORT or unix://PATH")?.collect();
    candidates.sort_by_key(SocketAddr::is_ipv6);
    let first = candidates.first().ok_or_else(|| Stage0Error::refused("the host has no address"))?;
    TcpListener::bind(first).context("the address cannot be used")
}

fn listen_on_file(path: &Path) -> Result<(UnixListener, SocketFile)> {
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
    if let Some(group) = group::rkt_gid().filter(|_| rustix::process::geteuid().is_root()) {
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
struct SocketFile {
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
fn passed_sockets() -> Result<Vec<OwnedFd>> {
    let descriptors = sd_notify::listen_fds().context("cannot use the sockets of the service manager")?;
    // SAFETY: `listen_fds` has just worked on these descriptors, so they are open; they are this process's by the protocol of
    // sd_listen_fds(3), and nothing else in it uses them.
    Ok(descriptors.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect())
}

/// A socket that somebody else made.
fn adopt(socket: OwnedFd) -> Result<Listener> {
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

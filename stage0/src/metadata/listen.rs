//! The sockets of the metadata service.
//!
//! Responsible for: which socket is for what, and who may connect to it. Must not know: HTTP. Follows rkt-reference.md 6.10 and
//! docs/metadata-service.md.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::log::Log;
use crate::sockets::{Listener, SocketFile, adopt, listen_on_file, passed_sockets};

/// rkt's port.
pub const DEFAULT_PORT: u16 = 18112;
/// Where the sockets of the host's services are.
const DIRECTORY: &str = "/run/rkt";
/// Where rkt registers pods.
const REGISTRATION: &str = "metadata-svc.sock";
/// Where stage1 asks for its apps. It can be reached from every network name space.
const PUBLIC: &str = "metadata-svc-public.sock";

/// All of them.
#[derive(Debug)]
pub struct Sockets {
    /// For rkt: whoever can connect can register pods.
    pub registration: Vec<Listener>,
    /// For apps: whoever has a token learns what it stands for.
    pub public: Vec<Listener>,
    /// Removed when this is dropped.
    _files: Vec<SocketFile>,
}

impl Sockets {
    /// Takes the sockets that systemd passed, each for what its type and name say, and makes what is missing. Errors: a
    /// socket cannot be had; a port is asked for and one was passed.
    pub fn open(port: Option<u16>, log: Log) -> Result<Self> {
        let mut sockets = Self { registration: Vec::new(), public: Vec::new(), _files: Vec::new() };
        let (mut has_port, mut has_public_file) = (false, false);
        for socket in passed_sockets()? {
            match adopt(socket)? {
                Listener::Unix(listener) if is_public(&listener) => {
                    has_public_file = true;
                    sockets.public.push(Listener::Unix(listener));
                }
                Listener::Unix(listener) => sockets.registration.push(Listener::Unix(listener)),
                Listener::Tcp(listener) => {
                    has_port = true;
                    sockets.public.push(Listener::Tcp(listener));
                }
            }
        }
        if has_port && port.is_some() {
            let text = "--listen-port cannot be used together with a port of the service manager";
            return Err(Stage0Error::refused(text));
        }
        if sockets.registration.is_empty() {
            let listener = sockets.listen_on_file(REGISTRATION)?;
            sockets.registration.push(listener);
        }
        if !has_public_file {
            let listener = sockets.listen_on_file(PUBLIC)?;
            sockets.public.push(listener);
        }
        if !has_port {
            sockets.public.push(Listener::Tcp(listen_on_port(port.unwrap_or(DEFAULT_PORT), log)?));
        }
        Ok(sockets)
    }

    /// For root alone: whoever registers pods runs them.
    fn listen_on_file(&mut self, name: &str) -> Result<Listener> {
        let directory = Path::new(DIRECTORY);
        std::fs::create_dir_all(directory).file("create", directory)?;
        let (listener, file) = listen_on_file(&directory.join(name), None)?;
        self._files.push(file);
        Ok(Listener::Unix(listener))
    }
}

fn is_public(listener: &UnixListener) -> bool {
    let address = listener.local_addr();
    address.is_ok_and(|address| address.as_pathname().is_some_and(|path| path.ends_with(PUBLIC)))
}

/// On all addresses: pods of other stage1 images come over bridges.
fn listen_on_port(port: u16, log: Log) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .context(format!("error listening on port {port}"))?;
    if let Ok(address) = listener.local_addr() {
        log.debug(format!("listening on {address}"));
    }
    Ok(listener)
}

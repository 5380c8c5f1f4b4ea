//! Where the API is served.
//!
//! Responsible for: `--listen`, and that it and systemd's sockets exclude each other. Must not know: gRPC. Follows
//! rkt-reference.md 7.1.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;

use crate::error::{Context, Result, Stage0Error};
use crate::group;
use crate::log::Log;
use crate::sockets::{Listener, SocketFile, adopt, listen_on_file, passed_sockets};

/// Where the service listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "localhost:15441";
/// What the address of a unix socket begins with.
const UNIX_SCHEME: &str = "unix://";

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
            let (listener, file) = listen_on_file(Path::new(path), group::rkt_gid())?;
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

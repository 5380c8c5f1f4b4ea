//! The service manager that started rkt, if it wants to be told.
//!
//! Responsible for: saying that the pod is ready, or stops, and what its apps say of themselves. Must not know: when that is.
//! Follows sd_notify(3): rkt run as a unit with `Type=notify`, `WatchdogSec=`.
//!
//! stage1 starts no other programs, so nobody else can speak in its name with the variable that it leaves in place.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use guest_api::{MAX_STATUS_BYTES, Notice};

/// Names the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says how often it wants to hear that the service is alive, in microseconds, and which process it is that it means.
const WATCHDOG_VARIABLES: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// Messages of apps that are passed on in a [`WINDOW`]. The manager of all services must not have its hands full with one
/// guest; a watchdog is fed every few seconds.
const BURST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// How to reach it. Default: nobody wants to be told.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    has_said_ready: bool,
    has_said_stopping: bool,
    /// When the last window began, and what was passed on in it.
    window: Option<(Instant, u32)>,
}

/// How often, in microseconds, the service manager wants to hear from this process that the service is alive.
pub fn watchdog_microseconds() -> Option<u64> {
    let [interval, process] = WATCHDOG_VARIABLES.map(|name| std::env::var(name).ok());
    let is_meant = process.is_none_or(|text| text.parse() == Ok(std::process::id()));
    interval.filter(|_| is_meant)?.parse().ok().filter(|interval| *interval > 0)
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

    /// What an app says of itself, unless apps say too much.
    pub fn pass_on(&mut self, app: &str, notices: &[Notice], now: Instant) {
        for notice in notices {
            let message = match notice {
                Notice::Alive => "WATCHDOG=1".to_owned(),
                // A line break would begin a message of the guest's own.
                Notice::Status(text) if text.len() > MAX_STATUS_BYTES || text.contains(char::is_control) => {
                    continue;
                }
                Notice::Status(text) => format!("STATUS={app}: {text}"),
            };
            if self.may_pass_on(now) {
                self.say(&message);
            }
        }
    }

    fn may_pass_on(&mut self, now: Instant) -> bool {
        let (began, passed) =
            self.window.filter(|(began, _)| now.duration_since(*began) < WINDOW).unwrap_or((now, 0));
        self.window = Some((began, passed.saturating_add(1)));
        passed < BURST
    }

    /// A manager that cannot be reached finds out by itself what becomes of the pod.
    fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

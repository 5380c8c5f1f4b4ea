//! A client's end of the control socket.
//!
//! Responsible for: reaching the supervisor of the pod in the working directory, and nobody else. Must not know: what is asked of
//! it. Follows pidfd_open(2) and unix(7), SO_PEERCRED.
//!
//! The number in `pid` may be another process's by now. So its process is held by a descriptor first, and then has to prove
//! that it is the supervisor: the pod directory is its working directory, or the control socket its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::SOCKET_NAME;
use super::connection::{Connection, ConnectionError};
use super::protocol::Reply;

/// How long the end of a process may take once it has begun: the kernel gives back its memory and files, on a loaded host too.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Why a supervisor cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is nobody to ask.
    #[error("the pod is not running")]
    NotRunning,
    /// Somebody else has the number by now.
    #[error("process {0} is not the one that runs the pod")]
    Stranger(i32),
    /// The process cannot be held.
    #[error("cannot watch process {pid}")]
    Watch {
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The supervisor does not listen.
    #[error("cannot connect to the pod's {SOCKET_NAME}")]
    Connect(#[source] io::Error),
    /// The conversation broke off.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// The process that runs the pod in the working directory.
#[derive(Debug)]
pub struct PodProcess {
    pid: Pid,
    pidfd: OwnedFd,
}

impl PodProcess {
    /// Finds it by its number.
    pub fn find(pid: Pid) -> Result<Self, ClientError> {
        let number = pid.as_raw_nonzero().get();
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Err(ClientError::NotRunning),
            Err(errno) => return Err(ClientError::Watch { pid: number, cause: errno.into() }),
        };
        let place = |path: &str| std::fs::metadata(path).map(|it| (it.dev(), it.ino()));
        match (place(&format!("/proc/{number}/cwd")), place(".")) {
            (Ok(theirs), Ok(ours)) if theirs == ours => Ok(Self { pid, pidfd }),
            // An ending process has given its working directory back some time before it can be seen to have ended.
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound && ends(&pidfd, LAST_MOMENTS) => {
                Err(ClientError::NotRunning)
            }
            _ if ends(&pidfd, Duration::ZERO) => Err(ClientError::NotRunning),
            _ => Err(ClientError::Stranger(number)),
        }
    }

    /// Readable when the process has ended.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills it. It may have ended before.
    pub fn kill(&self) -> Result<(), ClientError> {
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => {
                Err(ClientError::Watch { pid: self.pid.as_raw_nonzero().get(), cause: errno.into() })
            }
        }
    }

    /// Connects to its control socket. Waits for nothing: a supervisor that is stopped or stuck lets nobody in.
    pub fn connect(&self) -> Result<Connection<Reply>, ClientError> {
        let attempt = || -> Result<UnixStream, Errno> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(Path::new(SOCKET_NAME))?)?;
            Ok(UnixStream::from(socket))
        };
        let stream = attempt().map_err(|errno| ClientError::Connect(errno.into()))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|errno| ClientError::Connect(errno.into()))?;
        if peer.pid != self.pid {
            return Err(ClientError::Stranger(self.pid.as_raw_nonzero().get()));
        }
        Ok(Connection::new(stream)?)
    }
}

/// Whether the process ends within this time.
fn ends(pidfd: &OwnedFd, time: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags};
    let Ok(timeout) = time.try_into() else { return false };
    let poll = || rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout));
    matches!(rustix::io::retry_on_intr(poll), Ok(1..))
}

//! `stop`: ends a pod and returns when it is down.
//!
//! Responsible for: asking, waiting, and with `--force` for not depending on an answer. Must not know: how a pod ends, which is the
//! supervisor's. Follows rkt-reference 4.6.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::control_socket::client::{ClientError, PodProcess};
use crate::control_socket::connection::Connection;
use crate::control_socket::protocol::{Reply, Request};
use crate::error::EntrypointError;
use crate::exit::ExitCode;
use crate::fault;
use crate::flags::StopFlags;
use crate::pod_directory;

/// How long the supervisor may take to confirm. It does between two system calls; a host that swaps takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The same with `--force`, which does not depend on it: then the supervisor is killed.
const FORCED_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pod that is killed and has confirmed it may take. The supervisor kills the VM after 3 s; what comes then is a
/// few system calls, on an overloaded host too.
const FORCED_END_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a pod could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// There is no number of a process in `pid`.
    #[error("the file \"pid\" of the pod holds no process number")]
    MalformedPid,
    /// The supervisor does not say anything.
    #[error("the pod does not answer (try --force)")]
    NoAnswer,
    /// Waiting failed.
    #[error("cannot wait for the pod's end")]
    Wait(#[source] io::Error),
}

/// Stops the pod in the working directory.
pub fn run(flags: &StopFlags) -> Result<ExitCode, EntrypointError> {
    let pod = match PodProcess::find(supervisor()?) {
        // Ended while we were on our way.
        Err(ClientError::NotRunning) => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    if flags.force {
        // Whatever keeps the supervisor from being asked is a reason to kill it.
        let asked = pod.connect().and_then(|connection| ask(connection, true));
        if !asked.is_ok_and(|connection| ends_by_itself(&pod, connection)) {
            pod.kill()?;
            wait(&pod, None, None)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let connection = match pod.connect().and_then(|connection| ask(connection, false)) {
        Ok(connection) => connection,
        Err(error) => {
            // A supervisor that is just ending does not listen any more.
            return match wait(&pod, None, Some(Instant::now() + ANSWER_TIMEOUT))? {
                Woken::Ended => Ok(ExitCode::SUCCESS),
                _ => Err(error.into()),
            };
        }
    };
    fault::point("stop.asked");
    if !confirmed(&pod, connection, Instant::now() + ANSWER_TIMEOUT)? {
        return Err(StopError::NoAnswer.into());
    }
    wait(&pod, None, None)?;
    Ok(ExitCode::SUCCESS)
}

/// The process that runs the pod.
pub fn supervisor() -> Result<Pid, EntrypointError> {
    let bytes = pod_directory::read(Path::new("pid"))?;
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let pid = number.filter(|number| *number > 0).and_then(Pid::from_raw);
    Ok(pid.ok_or(StopError::MalformedPid)?)
}

fn ask(mut connection: Connection<Reply>, force: bool) -> Result<Connection<Reply>, ClientError> {
    connection.send(&Request::Stop { force })?;
    connection.flush()?;
    Ok(connection)
}

/// Whether a pod that was told to die does, in the time it has.
fn ends_by_itself(pod: &PodProcess, connection: Connection<Reply>) -> bool {
    let confirmed = confirmed(pod, connection, Instant::now() + FORCED_ANSWER_TIMEOUT);
    confirmed.is_ok_and(|confirmed| confirmed)
        && matches!(wait(pod, None, Some(Instant::now() + FORCED_END_TIMEOUT)), Ok(Woken::Ended))
}

/// Waits until the supervisor has confirmed, or has ended, which says it as well.
fn confirmed(
    pod: &PodProcess,
    mut connection: Connection<Reply>,
    until: Instant,
) -> Result<bool, EntrypointError> {
    loop {
        match wait(pod, Some(&connection), Some(until))? {
            Woken::Ended => return Ok(true),
            Woken::Late => return Ok(false),
            Woken::Said => {}
        }
        connection.fill().map_err(ClientError::Connection)?;
        match connection.next_message().map_err(ClientError::Connection)? {
            Some(_) => return Ok(true),
            // It closes when it ends, and has a moment's work left.
            None if connection.is_closed() => {
                return Ok(matches!(wait(pod, None, Some(until))?, Woken::Ended));
            }
            None => {}
        }
    }
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The supervisor has ended.
    Ended,
    /// There is something to read.
    Said,
    /// The time is up.
    Late,
}

/// Waits for the pod's end, or for something to read, or until a time.
pub fn wait(
    pod: &PodProcess,
    connection: Option<&Connection<Reply>>,
    until: Option<Instant>,
) -> Result<Woken, EntrypointError> {
    loop {
        let mut descriptors = vec![PollFd::from_borrowed_fd(pod.descriptor(), PollFlags::IN)];
        descriptors.extend(connection.map(|it| PollFd::from_borrowed_fd(it.descriptor(), PollFlags::IN)));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| left.try_into().ok());
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => return Ok(Woken::Late),
            Ok(_) if descriptors.first().is_some_and(|it| !it.revents().is_empty()) => {
                return Ok(Woken::Ended);
            }
            Ok(_) => return Ok(Woken::Said),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StopError::Wait(errno.into()).into()),
        }
    }
}

//! `app/add`, `app/start`, `app/stop` and `app/rm`: one request to the supervisor each.
//!
//! Responsible for: asking, waiting for the answer, and what the answer is as an exit code. Must not know: what becomes of the
//! request. Follows rkt-reference 4.7.

use crate::control_socket::client::{ClientError, PodProcess};
use crate::control_socket::protocol::{Reply, Request};
use crate::diagnostics;
use crate::entrypoints::stop;
use crate::error::EntrypointError;
use crate::exit::ExitCode;
use crate::flags::AppFlags;

/// The app does not run: what systemctl(1) says of a unit that it does not know.
const NOT_RUNNING: ExitCode = ExitCode(5);

/// Why the supervisor did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// It says why.
    #[error("{0}")]
    Refused(String),
    /// There is nobody left to do it.
    #[error("the pod has ended")]
    PodEnded,
    /// An answer to another question.
    #[error("the pod's supervisor gave an answer that does not belong here")]
    OtherAnswer,
}

/// Asks the supervisor of the pod in the working directory for something about an app.
pub fn run(flags: AppFlags, request: fn(String) -> Request) -> Result<ExitCode, EntrypointError> {
    let pod = PodProcess::find(stop::supervisor()?)?;
    let mut connection = pod.connect()?;
    connection.send(&request(flags.app)).map_err(ClientError::from)?;
    connection.flush().map_err(ClientError::from)?;
    loop {
        // How long an app may take to end is its own affair; the pod's end ends the wait.
        stop::wait(&pod, Some(&connection), None)?;
        connection.fill().map_err(ClientError::from)?;
        match connection.next_message().map_err(ClientError::from)? {
            Some(Reply::Warning(text)) => diagnostics::say(diagnostics::STAGE1, &text),
            Some(Reply::Done) => return Ok(ExitCode::SUCCESS),
            Some(Reply::NotRunning) => return Ok(NOT_RUNNING),
            Some(Reply::Failed(reason)) => return Err(AppError::Refused(reason).into()),
            Some(Reply::PodEnded) => return Err(AppError::PodEnded.into()),
            Some(_) => return Err(AppError::OtherAnswer.into()),
            None if connection.is_closed() => return Err(AppError::PodEnded.into()),
            None => {}
        }
    }
}

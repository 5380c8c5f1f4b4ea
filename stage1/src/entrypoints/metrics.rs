//! `metrics`: prints what a running pod counts.
//!
//! Responsible for: asking and printing. Must not know: what is counted, which is the supervisor's affair. Follows docs/metrics.md.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::control_socket::client::{ClientError, PodProcess};
use crate::control_socket::protocol::{Reply, Request};
use crate::entrypoints::stop::{self, Woken};
use crate::error::EntrypointError;
use crate::exit::ExitCode;

/// How long the supervisor may take. It answers between two system calls; a host that swaps takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The supervisor does not say anything.
    #[error("the pod does not answer")]
    NoAnswer,
    /// The pod has ended meanwhile.
    #[error("the pod is not running")]
    PodEnded,
    /// An answer to another question.
    #[error("the pod's supervisor gave an answer that does not belong here")]
    OtherAnswer,
    /// Nobody reads them.
    #[error("cannot print the pod's metrics")]
    Print(#[source] std::io::Error),
}

/// Asks the supervisor of the pod in the working directory.
pub fn run() -> Result<ExitCode, EntrypointError> {
    let pod = PodProcess::find(stop::supervisor()?)?;
    let mut connection = pod.connect()?;
    connection.send(&Request::Metrics).map_err(ClientError::from)?;
    connection.flush().map_err(ClientError::from)?;
    let until = Instant::now().checked_add(ANSWER_TIMEOUT);
    loop {
        match stop::wait(&pod, Some(&connection), until)? {
            Woken::Late => return Err(MetricsError::NoAnswer.into()),
            Woken::Ended => return Err(MetricsError::PodEnded.into()),
            Woken::Said => {}
        }
        connection.fill().map_err(ClientError::from)?;
        match connection.next_message().map_err(ClientError::from)? {
            Some(Reply::Metrics(text)) => {
                std::io::stdout().write_all(text.as_bytes()).map_err(MetricsError::Print)?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(_) => return Err(MetricsError::OtherAnswer.into()),
            None if connection.is_closed() => return Err(MetricsError::PodEnded.into()),
            None => {}
        }
    }
}

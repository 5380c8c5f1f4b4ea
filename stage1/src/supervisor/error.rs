//! Why a pod failed while it ran, and what the end of a child process before the guest's stands for.
//!
//! Responsible for: the sentences. Must not know: the loop that comes to them. Follows rkt-reference 1.1 (exit codes).

use std::io;
use std::time::Duration;

use crate::control::ControlError;
use crate::exit::ExitCode;
use crate::file_server::FileServerEnd;
use crate::guest::Violation;
use crate::process::{End, ProcessError};
use crate::vmm_process::VmmEnd;

/// Why a pod failed while it ran. Each is printed, and rkt exits with 254.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A socket of the service manager.
    #[error("cannot wait for connections to a socket of the service manager")]
    PassedSocket(#[source] io::Error),
    /// Waiting failed.
    #[error("cannot wait for the pod")]
    Wait(#[source] io::Error),
    /// Fresh entropy for the guest could not be had.
    #[error("cannot read /dev/urandom")]
    Entropy(#[source] io::Error),
    /// The host's clock cannot be watched.
    #[error("cannot watch the clock")]
    Clock(#[source] io::Error),
    /// An app of a mutable pod cannot be run as asked.
    #[error("{0}")]
    Plan(String),
    /// The connection to the guest failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The guest broke the protocol.
    #[error("the guest is not to be trusted any more, so the pod was killed")]
    Violation(#[from] Violation),
    /// A child could not be handled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The guest has not called.
    #[error(
        "the guest did not start within {} s, {} (run again with --debug to see the guest kernel's messages; \
         RKT_HYPERVISOR_BOOT_TIMEOUT sets the seconds that a slow host needs)",
        limit.as_secs(),
        describe_work(*worked)
    )]
    GuestSilent {
        /// What it had.
        limit: Duration,
        /// Processor time of the VMM, in which a guest that waits for something differs from one that runs in circles.
        worked: Option<Duration>,
    },
    /// The guest died without saying goodbye.
    #[error(
        "the guest kernel panicked or its init died: the VM reset itself without halting (its last messages are above, if it had any; \
         --debug shows all of them)"
    )]
    GuestDied,
    /// The guest died so badly that not even a panic was possible.
    #[error("the guest crashed: virtual CPU {vcpu} met a triple fault ({registers})")]
    TripleFault {
        /// The virtual CPU.
        vcpu: u8,
        /// Its registers.
        registers: String,
    },
    /// The VMM failed.
    #[error("the VMM failed: {0}")]
    Vmm(String),
    /// The file server failed.
    #[error("the file server failed: {0}")]
    FileServer(String),
    /// The pod's control group has no more memory.
    #[error(
        "the pod was killed for want of memory: it may take {} MiB of this host's, for its guest, for files and for itself",
        _0 >> 20
    )]
    OutOfMemory(u64),
    /// The user lost patience, or the guest could not be stopped.
    #[error("the pod was killed: {0}")]
    Killed(&'static str),
}

/// The error that the file server's end before the VMM's stands for, if it is one, in a pod whose memory was `short` at this limit.
pub fn file_server_verdict(end: End<FileServerEnd>, short: Option<u64>) -> Result<(), SupervisorError> {
    match end {
        End::Killed(libc::SIGKILL) if let Some(limit) = short => Err(SupervisorError::OutOfMemory(limit)),
        End::Done(FileServerEnd::HungUp) => Ok(()),
        End::Done(FileServerEnd::Failed(reason)) => Err(SupervisorError::FileServer(reason)),
        other => Err(SupervisorError::FileServer(other.describe())),
    }
}

/// The same of the VMM's end before the guest's.
pub fn vmm_verdict(end: End<VmmEnd>, short: Option<u64>) -> Result<ExitCode, SupervisorError> {
    Err(match end {
        End::Killed(libc::SIGKILL) if let Some(limit) = short => SupervisorError::OutOfMemory(limit),
        End::Done(VmmEnd::Reset) => SupervisorError::GuestDied,
        End::Done(VmmEnd::TripleFault { vcpu, registers }) => {
            SupervisorError::TripleFault { vcpu, registers }
        }
        End::Done(VmmEnd::Failed(reason) | VmmEnd::Other(reason)) => SupervisorError::Vmm(reason),
        other => SupervisorError::Vmm(other.describe()),
    })
}

fn describe_work(worked: Option<Duration>) -> String {
    match worked {
        Some(time) => {
            format!("in which its virtual machine used {:.1} s of processor time", time.as_secs_f64())
        }
        None => "and was killed".to_owned(),
    }
}

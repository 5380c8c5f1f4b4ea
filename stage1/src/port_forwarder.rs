//! The process that carries connections to the pod's ports where the kernel does not.
//!
//! Responsible for: giving up everything but the ports' sockets and the host's network. Must not know: what is carried. Follows
//! docs/threat-model.md and docs/networking.md, "Ports".
//!
//! It touches what strangers send, and what the pod answers, without a look at it. It has an empty root directory and no capability,
//! and is in the host's network name space, as it must be to be called there. One that fails is replaced.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use firewall::{PodAddress, Reservation};
use rustix::thread::CapabilitySet;

use crate::diagnostics::sentence;
use crate::jail::{self, Depth, Jail};
use crate::process::{self, Child, End, ProcessError};

/// How long after one process was started the next one may be, so that one which always ends at once keeps nobody busy.
const INTERVAL: Duration = Duration::from_secs(1);

/// The pod's ports, and the process that serves them. The supervisor has the sockets too: whatever becomes of the process, the ports stay
/// the pod's, and a new process goes on.
#[derive(Debug)]
pub struct PortForwarder {
    reservation: Reservation,
    pod: Vec<PodAddress>,
    /// None while the next one has to wait.
    process: Option<Child>,
    started: Instant,
}

/// Starts it if there are ports.
pub fn start(reservation: Reservation, pod: Vec<PodAddress>) -> Result<Option<PortForwarder>, ProcessError> {
    if reservation.sockets.is_empty() {
        return Ok(None);
    }
    let process = Some(spawn(&reservation, &pod)?);
    Ok(Some(PortForwarder { reservation, pod, process, started: Instant::now() }))
}

fn spawn(reservation: &Reservation, pod: &[PodAddress]) -> Result<Child, ProcessError> {
    let name = "port forwarder";
    let reservation = reservation.try_clone().map_err(|cause| ProcessError::starting(name, cause))?;
    let keep: Vec<_> = reservation.sockets.iter().map(|reserved| reserved.socket.as_raw_fd()).collect();
    process::spawn(name, &keep, move || run(reservation, pod))
}

impl PortForwarder {
    /// Readable when the process has ended.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(Child::descriptor)
    }

    /// When there is something to do even if no process has ended.
    pub fn due(&self) -> Option<Instant> {
        if self.process.is_some() { None } else { self.started.checked_add(INTERVAL) }
    }

    /// Puts a new process in the place of one that has ended. Returns what is to be said about it.
    pub fn tend(&mut self) -> Option<String> {
        let mut said = None;
        if let Some(ended) = self.process.take_if(|process| process.has_ended()) {
            let why = match ended.wait::<String>() {
                Ok(End::Done(why) | End::Panicked(why)) => why,
                Ok(End::Killed(signal)) => format!("it was killed by signal {signal}"),
                Ok(End::Silent) => "it ended without a reason".to_owned(),
                Err(error) => sentence(&error),
            };
            said = Some(format!("warning: the port forwarder failed: {why}; it is started again"));
        }
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.started = Instant::now();
            match spawn(&self.reservation, &self.pod) {
                Ok(process) => self.process = Some(process),
                Err(error) => said = Some(format!("warning: {}", sentence(&error))),
            }
        }
        said
    }
}

/// Why it ended, if it did before the supervisor.
fn run(reservation: Reservation, pod: &[PodAddress]) -> String {
    match confine() {
        Ok(()) => firewall::forwarder::serve(reservation, pod).to_string(),
        Err(why) => why,
    }
}

fn confine() -> Result<(), String> {
    let confined = || {
        let jail = Jail::enter_with_network()?;
        let root = jail::empty_tree()?;
        jail::make_read_only(&root, Depth::Single)?;
        jail.change_root(&root)?.keep_capabilities(CapabilitySet::empty())
    };
    confined().map(drop).map_err(|error| sentence(&error))
}

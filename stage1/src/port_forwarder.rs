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
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use crate::diagnostics::sentence;
use crate::jail::{Confined, Jail, JailError, Reach, Terms};
use crate::process::{self, Child, Company, End, Place, ProcessError};

/// How long after one process was started the next one may be, so that one which always ends at once keeps nobody busy.
const INTERVAL: Duration = Duration::from_secs(1);

/// The pod's ports, and the process that serves them. The supervisor has the sockets too: whatever becomes of the process, the ports stay
/// the pod's, and a new process goes on.
#[derive(Debug)]
pub struct PortForwarder {
    reservation: Reservation,
    pod: Vec<PodAddress>,
    terms: Terms,
    place: Place,
    /// None while the next one has to wait.
    process: Option<Child>,
    started: Instant,
}

/// Starts it if there are ports, in these control groups.
pub fn start(
    reservation: Reservation,
    pod: Vec<PodAddress>,
    terms: Terms,
    place: Place,
) -> Result<Option<PortForwarder>, ProcessError> {
    if reservation.sockets.is_empty() {
        return Ok(None);
    }
    let process = Some(spawn(&reservation, &pod, terms, &place)?);
    Ok(Some(PortForwarder { reservation, pod, terms, place, process, started: Instant::now() }))
}

fn spawn(
    reservation: &Reservation,
    pod: &[PodAddress],
    terms: Terms,
    place: &Place,
) -> Result<Child, ProcessError> {
    let name = "port forwarder";
    let reservation = reservation.try_clone().map_err(|cause| ProcessError::starting(name, cause))?;
    let keep: Vec<_> = reservation.sockets.iter().map(|reserved| reserved.socket.as_raw_fd()).collect();
    let company = Company::with(terms.demand);
    process::spawn_in(place, name, company, &keep, move || run(reservation, pod, terms))
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
                Ok(end) => end.describe(),
                Err(error) => sentence(&error),
            };
            said = Some(format!("warning: the port forwarder failed: {why}; it is started again"));
        }
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.started = Instant::now();
            match spawn(&self.reservation, &self.pod, self.terms, &self.place) {
                Ok(process) => self.process = Some(process),
                Err(error) => said = Some(format!("warning: {}", sentence(&error))),
            }
        }
        said
    }
}

/// Why it ended, if it did before the supervisor.
fn run(reservation: Reservation, pod: &[PodAddress], terms: Terms) -> String {
    let ports = reservation.sockets.iter().map(|reserved| reserved.forward.pod_port).collect();
    let confined = || {
        let jail = confine(terms, ports)?;
        // With a process's first thread, glibc sets a signal handler up, which none of the later ones has to be allowed.
        let first = std::thread::Builder::new().spawn(|| ()).map_err(JailError::of("starting a thread"))?;
        // It does nothing that could fail.
        let _ = first.join();
        process::report_refused_calls().map_err(JailError::of("handling refused system calls"))?;
        jail.filter(&filters::PORT_FORWARDER)
    };
    match confined() {
        Ok(()) => firewall::forwarder::serve(reservation, pod).to_string(),
        Err(error) => sentence(&error),
    }
}

/// Everything but the filter of system calls.
pub fn confine(terms: Terms, ports: Vec<u16>) -> Result<Jail<Confined>, JailError> {
    let jail = Jail::enter_with_network(terms.demand)?.empty_root()?.become_user(terms.user)?;
    let jail = jail.keep_capabilities(CapabilitySet::empty())?;
    // It writes to no file.
    jail.restrict(&Reach::Ports(ports), &[(Resource::Fsize, 0)])
}

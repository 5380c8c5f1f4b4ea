//! The process that makes device nodes for the file server.
//!
//! Responsible for: starting it when the first one is wanted, confining it, noticing its end. Must not know: who wants nodes, and where.
//! Follows mknod(2); docs/threat-model.md, "Device nodes".
//!
//! Only a process with CAP_MKNOD in the host's user name space may make them, where the file server is not. Most pods make none, so there
//! is a socket that the supervisor looks after until something is said on it, and no process before.

mod asking;
mod making;
#[cfg(test)]
mod making_test;
mod request;
#[cfg(test)]
mod request_test;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use crate::diagnostics::sentence;
use crate::jail::{Confined, Jail, JailError, Reach, Terms};
use crate::process::{self, Child, Company, End, Place, ProcessError};
use crate::users::Numbers;

pub use asking::ask;

/// Device nodes (`MKNOD`), in directories of whomever (`DAC_OVERRIDE`), of a group of whomever (`SETGID`), with the mode that was asked for
/// (`FSETID`).
pub const CAPABILITIES: CapabilitySet = CapabilitySet::MKNOD
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::FSETID);

/// Descriptors: standard streams, report, socket, a directory, and what putting up the walls takes for a moment.
const LIMITS: [(Resource, u64); 2] = [(Resource::Nofile, 16), (Resource::Fsize, 0)];

/// What a pod has of it.
#[derive(Debug)]
enum State {
    /// Nobody has wanted a node.
    Waiting(OwnedFd),
    /// It is there.
    Running(Child),
    /// Nobody can want one any more, or nobody makes them any more.
    Gone,
}

/// Who makes a pod's device nodes.
#[derive(Debug)]
pub struct DeviceNodes {
    state: State,
    numbers: Numbers,
    terms: Terms,
    place: Place,
}

/// Prepares for them. Returns the end of the file server's, too, whose users have these numbers; the process will be in these control groups.
pub fn prepare(numbers: Numbers, terms: Terms, place: Place) -> io::Result<(DeviceNodes, OwnedFd)> {
    // Each message is one request, or the answer to one, with its end.
    let (asked, asking) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((DeviceNodes { state: State::Waiting(asked), numbers, terms, place }, asking))
}

impl DeviceNodes {
    /// Readable when there is something to do.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(socket) => Some(socket.as_fd()),
            State::Running(process) => Some(process.descriptor()),
            State::Gone => None,
        }
    }

    /// Starts the process if it is wanted, and notices its end. Returns what is to be said about it.
    ///
    /// Must be called while the process has one thread.
    pub fn tend(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Waiting(socket) => {
                let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                match rustix::net::recv(&socket, &mut [0; 1], flags) {
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                        self.state = State::Waiting(socket);
                        None
                    }
                    // The file server has ended.
                    Ok((_, 0)) | Err(_) => None,
                    Ok(_) => match spawn(socket, self.numbers, self.terms, &self.place) {
                        Ok(process) => {
                            self.state = State::Running(process);
                            None
                        }
                        Err(error) => Some(complaint(&sentence(&error))),
                    },
                }
            }
            State::Running(process) if process.has_ended() => match process.wait::<Result<(), String>>() {
                // So has the file server.
                Ok(End::Done(Ok(()))) => None,
                Ok(End::Done(Err(why)) | End::Panicked(why)) => Some(complaint(&why)),
                Ok(end) => Some(complaint(&end.describe())),
                Err(error) => Some(complaint(&sentence(&error))),
            },
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Kills the process, if there is one. It may have ended before.
    pub fn kill(&self) -> Result<(), ProcessError> {
        match &self.state {
            State::Running(process) => process.kill(),
            State::Waiting(_) | State::Gone => Ok(()),
        }
    }

    /// Waits for its end, if there is one. How it ended does not matter any more.
    pub fn wait(self) -> Result<(), ProcessError> {
        match self.state {
            State::Running(process) => process.wait::<Result<(), String>>().map(drop),
            State::Waiting(_) | State::Gone => Ok(()),
        }
    }
}

fn complaint(why: &str) -> String {
    format!("warning: no more device nodes can be made in the pod: {why}")
}

fn spawn(socket: OwnedFd, numbers: Numbers, terms: Terms, place: &Place) -> Result<Child, ProcessError> {
    let keep = [socket.as_raw_fd()];
    let company = Company::with(terms.demand);
    process::spawn_in(place, "device node", company, &keep, move || {
        run(&socket, numbers, terms).map_err(|error| sentence(&error))
    })
}

fn run(socket: &OwnedFd, numbers: Numbers, terms: Terms) -> Result<(), JailError> {
    let jail = confine(numbers, terms)?;
    process::report_refused_calls().map_err(JailError::of("handling refused system calls"))?;
    jail.filter(&filters::DEVICE_NODES)?;
    making::serve(socket, numbers).map_err(JailError::of("listening"))
}

/// Everything but the filter of system calls.
pub fn confine(numbers: Numbers, terms: Terms) -> Result<Jail<Confined>, JailError> {
    let jail = Jail::enter(terms.demand)?.empty_root()?.become_owner(numbers)?;
    jail.keep_capabilities(CAPABILITIES)?.restrict(&Reach::DeviceNodes, &LIMITS)
}

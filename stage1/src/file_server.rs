//! The file server process.
//!
//! Responsible for: confining itself to the pod's shared tree and serving that to the VMM. Must not know: KVM, the network,
//! the pod's manifests. Follows docs/threat-model.md, "The file server".
//!
//! It is confined as `jail` says, to a root directory with the apps' root file systems and the volumes and nothing
//! else. It runs as the root of the pod's users (`users`) with [`CAPABILITIES`], because the guest's users own files; each is
//! there for one operation on files, none for anything else, and all of them in those users' name space. Device nodes,
//! which nobody may make in there, are made by another process (`device_nodes`).

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use file_server::{Tree, Writers};
use rustix::mount::OpenTreeFlags;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::device_nodes;
use crate::diagnostics::sentence;
use crate::jail::{self, Confined, Jail, Reach, Terms};
use crate::process::{self, Child, Company, Place, ProcessError};
use crate::shares::Shares;

/// What serving files of many owners takes: giving files away and keeping their mode bits (`CHOWN`, `FOWNER`, `FSETID`),
/// reading and writing what the guest's kernel has already permitted (`DAC_OVERRIDE`), creating files as the guest's
/// users (`SETUID`, `SETGID`) and file capabilities (`SETFCAP`).
/// Not `DAC_READ_SEARCH`: it adds nothing but open_by_handle_at(2), which leads to every file of a file system that any
/// part of the tree is on.
pub const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP);

/// Every file the guest remembers costs a descriptor. The kernel's own ceiling is `fs.nr_open`, 2^20 by default; where
/// less is allowed, less is used.
const DESCRIPTORS: u64 = 1 << 20;

/// Descriptors kept back for the server itself: sockets, eventfds, and what one request opens for a moment.
const OWN_DESCRIPTORS: u64 = 64;

/// How the file server ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileServerEnd {
    /// The VMM closed the connection.
    HungUp,
    /// It could not go on.
    Failed(String),
}

/// Starts the file server for these shares, in these control groups, for the VMM at the other end of `frontend`. At the other end of
/// `nodes` is who makes its device nodes.
pub fn start(
    shares: Shares,
    frontend: UnixStream,
    nodes: OwnedFd,
    terms: Terms,
    place: &Place,
) -> Result<Child, ProcessError> {
    let end = |result: Result<(), String>| match result {
        Ok(()) => FileServerEnd::HungUp,
        Err(reason) => FileServerEnd::Failed(reason),
    };
    let keep = [shares.descriptors(), vec![frontend.as_raw_fd(), nodes.as_raw_fd()]].concat();
    let company = Company::with(terms.demand);
    process::spawn_in(place, "file server", company, &keep, move || {
        end(serve(shares, frontend, nodes, terms))
    })
}

fn serve(shares: Shares, frontend: UnixStream, nodes: OwnedFd, terms: Terms) -> Result<(), String> {
    let writers = if shares.host_may_write() { Writers::GuestAndHost } else { Writers::GuestOnly };
    let guest_descriptors = raise_descriptor_limit().saturating_sub(OWN_DESCRIPTORS);
    let (jail, own_descriptors) = confine(shares, terms)?;
    jail.tell_missing();
    process::report_refused_calls()
        .map_err(|error| format!("cannot handle refused system calls: {error}"))?;
    device_nodes::ask(nodes);
    jail.filter(&filters::FILE_SERVER).map_err(|error| sentence(&error))?;
    let tree = Tree {
        root: "/".to_owned(),
        own_descriptors: File::from(own_descriptors),
        writers,
        guest_descriptors,
    };
    file_server::serve(frontend, tree).map_err(|error| sentence(&error))
}

/// Everything but the filter of system calls. Returns the directory of this process's descriptors, too.
pub fn confine(shares: Shares, terms: Terms) -> Result<(Jail<Confined>, OwnedFd), String> {
    let jail = Jail::enter(terms.demand).map_err(|error| sentence(&error))?;
    // A mount of its own, so that `..` does not lead out of it into the rest of /proc.
    let own_descriptors = jail::copy_mount(Path::new("/proc/self/fd"), OpenTreeFlags::empty())
        .map_err(|error| format!("cannot open /proc/self/fd: {error}"))?;
    let jail = shares.enter(jail).map_err(|error| sentence(&error))?;
    let jail = jail.become_root_of(shares.users()).map_err(|error| sentence(&error))?;
    let jail = jail.keep_capabilities(CAPABILITIES).map_err(|error| sentence(&error))?;
    let jail = jail.restrict(&Reach::Paths, &[]).map_err(|error| sentence(&error))?;
    Ok((jail, own_descriptors))
}

/// Raises the limit on open files as far as this process may, and returns it.
fn raise_descriptor_limit() -> u64 {
    let whole = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    if rustix::process::setrlimit(Resource::Nofile, whole).is_err() {
        let held = rustix::process::getrlimit(Resource::Nofile);
        // Raising the soft limit to the hard one is always allowed; if not, what is there has to do.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: held.maximum, ..held });
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS)
}

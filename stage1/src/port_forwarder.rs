//! The process that carries connections to the pod's ports where the kernel does not.
//!
//! Responsible for: giving up everything but the ports' sockets and the host's network. Must not know: what is carried. Follows
//! docs/threat-model.md and docs/networking.md, "Ports".
//!
//! It touches what strangers send, and what the pod answers, without a look at it. It has an empty root directory and no capability,
//! and is in the host's network name space, as it must be to be called there.

use std::os::fd::AsRawFd;

use firewall::{PodAddress, Reservation};
use rustix::thread::CapabilitySet;

use crate::diagnostics::sentence;
use crate::jail::{self, Depth, Jail};
use crate::process::{self, Child, ProcessError};

/// Starts it if there are ports.
pub fn start(reservation: Reservation, pod: Vec<PodAddress>) -> Result<Option<Child>, ProcessError> {
    if reservation.sockets.is_empty() {
        return Ok(None);
    }
    let keep: Vec<_> = reservation.sockets.iter().map(|reserved| reserved.socket.as_raw_fd()).collect();
    process::spawn("port forwarder", &keep, move || run(reservation, &pod)).map(Some)
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

//! A pod's table in the kernel.
//!
//! Responsible for: making and removing it, together with the one setting of the host's that it needs. Must not know: rules.
//! Follows docs/networking.md, "Rules".
//!
//! The table's name is all that is needed to remove it, so whoever knows the pod's UUID can, whatever was killed when. It is one
//! transaction each way.

use std::fs::File;
use std::io;

use nftables::{Batch, Connection, Family, NftError, Table};
use rustix::fs::FlockOperation;

use crate::pod::{Link, Pod};
use crate::route_localnet;
use crate::rules::{self, Loopback};

/// The calling thread's network name space, which is what is locked: all rkts of a host share it, whatever directories they use.
const NETWORK_NAME_SPACE: &str = "/proc/thread-self/ns/net";

/// Why the rules of a pod could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The packet filter does not take them.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Nobody can be kept from changing the same things at the same time.
    #[error("cannot lock the host's network name space ({NETWORK_NAME_SPACE})")]
    Lock(#[source] io::Error),
    /// What the pod sends passes by the place where it would be stopped.
    #[error(
        "egress rules cannot be enforced on network {0:?}: what pods send on it passes through neither this host's routing nor a bridge \
         of its, as it does on networks of the types ptp and bridge"
    )]
    NotRouted(String),
    /// The setting cannot be taken back.
    #[error("cannot turn route_localnet of interface {interface} off")]
    Setting {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Makes the pod's table in the network name space of the calling thread. Unless that succeeds, nothing is left of it.
pub fn install(pod: &Pod) -> Result<(), TableError> {
    let is_seen = |link: &&Link| link.own && link.interface.is_some() || link.port.is_some();
    if pod.egress.is_some()
        && let Some(link) = pod.links.iter().find(|link| !is_seen(link))
    {
        return Err(TableError::NotRouted(link.network.clone()));
    }
    if !rules::are_needed(pod) {
        return Ok(());
    }
    let _lock = lock()?;
    let mut connection = Connection::open()?;
    let interface = pod.forward_link().and_then(|link| link.interface.as_deref());
    let loopback = match interface {
        Some(interface) => loopback(&mut connection, interface)?,
        None => Loopback::Forwarder,
    };
    connection.commit(rules::make(pod, loopback))?;
    if let (Loopback::KernelMarked, Some(interface)) = (loopback, interface)
        && let Err(cause) = route_localnet::set(interface, true)
    {
        // A host whose settings are read-only: without its rules, the loopback's connections get to the forwarder.
        let mut batch = remove_batch(&mut connection, &pod.uuid)?;
        batch.append(rules::make(pod, Loopback::Forwarder));
        connection.commit(batch)?;
        drop(cause);
    }
    Ok(())
}

/// Whether the setting is on already, and if so whether because of another pod.
fn loopback(connection: &mut Connection, interface: &str) -> Result<Loopback, TableError> {
    match route_localnet::get(interface) {
        Ok(false) => Ok(Loopback::KernelMarked),
        Ok(true) if is_marked(connection, interface)? => Ok(Loopback::KernelMarked),
        Ok(true) => Ok(Loopback::Kernel),
        Err(_) => Ok(Loopback::Forwarder),
    }
}

fn is_marked(connection: &mut Connection, interface: &str) -> Result<bool, NftError> {
    let mark = route_localnet::mark(interface);
    Ok(connection.chains(Family::Inet)?.iter().any(|(_, chain)| *chain == mark))
}

/// Removes what is there of the pod's table, and the setting if no other pod needs it. That there is nothing is no error.
pub fn remove(uuid: &str) -> Result<(), TableError> {
    let _lock = lock()?;
    let mut connection = match Connection::open() {
        Err(error) if error.is_missing() => return Ok(()),
        other => other?,
    };
    let chains = match connection.chains(Family::Inet) {
        Err(error) if error.is_missing() => return Ok(()),
        other => other?,
    };
    let name = rules::table_name(uuid);
    let (own, others): (Vec<_>, Vec<_>) = chains.into_iter().partition(|(table, _)| *table == name);
    for interface in own.iter().filter_map(|(_, chain)| route_localnet::interface_of(chain)) {
        let mark = route_localnet::mark(interface);
        if others.iter().any(|(_, chain)| *chain == mark) {
            continue;
        }
        // Before the table: killed in between, the next to remove it finds the mark again.
        match route_localnet::set(interface, false) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(TableError::Setting { interface: interface.to_owned(), cause });
            }
            _ => {}
        }
    }
    let batch = remove_batch(&mut connection, uuid)?;
    Ok(connection.commit(batch)?)
}

fn remove_batch(connection: &mut Connection, uuid: &str) -> Result<Batch, NftError> {
    let name = rules::table_name(uuid);
    let mut batch = Batch::new();
    // A kernel that does not filter on bridges would refuse to hear of such a table.
    if connection.chains(Family::Bridge)?.iter().any(|(table, _)| *table == name) {
        batch.remove_table(Table { family: Family::Bridge, name: &name });
    }
    batch.remove_table(Table { family: Family::Inet, name: &name });
    Ok(batch)
}

/// Held until the file is closed.
fn lock() -> Result<File, TableError> {
    let file = File::open(NETWORK_NAME_SPACE).map_err(TableError::Lock)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| TableError::Lock(errno.into()))?;
    Ok(file)
}

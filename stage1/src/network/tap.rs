//! The tap beside a plugin's interface: what the machine's card is connected to.
//!
//! Responsible for: a tap that passes frames and says nothing by itself. Must not know: where its frames come from. Follows
//! Linux's Documentation/networking/tuntap.rst.
//!
//! The tap lives as long as somebody holds its queues, which only the VMM does while the pod runs.

use std::fs::{self, File};
use std::io;

use netlink::route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink::{Connection, NetlinkError};

use super::NetworkError;
use super::links;

/// A card of the pod's machine.
#[derive(Debug)]
pub struct Card {
    /// Queues of the tap.
    pub queues: Vec<File>,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Bytes of the longest packet.
    pub mtu: u16,
}

/// How many pairs of queues the cards of a machine have: one for each processor that could serve one.
pub fn queue_pairs(vcpus: u8) -> usize {
    usize::from(vcpus).clamp(1, vmm::MAX_QUEUE_PAIRS)
}

/// Makes a tap in the calling thread's name space, with which `kernel` is connected; returns its queues and its number.
pub fn make(
    kernel: &mut Connection,
    network: &str,
    name: &str,
    queue_pairs: usize,
    mtu: u16,
) -> Result<(Vec<File>, u32), NetworkError> {
    let failed =
        |doing| move |cause: NetlinkError| NetworkError::Kernel { network: network.to_owned(), doing, cause };
    let queues = vmm::open_tap(name, queue_pairs)
        .map_err(|cause| NetworkError::Tap { network: network.to_owned(), cause })?;
    // The kernel would introduce itself to the guest with an address of its own as soon as the tap is up.
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    match fs::write(&setting, "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(NetworkError::File { action: "write", path: setting.into(), cause: error });
        }
        Ok(()) | Err(_) => {}
    }
    let index = links::index_of(kernel, name).map_err(failed("find the tap"))?;
    let index = index.ok_or_else(|| NetworkError::NoInterface {
        network: network.to_owned(),
        interface: name.to_owned(),
    })?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes.push(LinkAttribute::Mtu(u32::from(mtu)));
    kernel.change(&link, 0).map_err(failed("bring up the tap"))?;
    Ok((queues, index))
}

//! What card and driver agree on.
//!
//! Responsible for: the features offered, the configuration space, and which offloads of the tap follow from a choice. Must not
//! know: queues, frames. Follows the virtio specification 1.2 and 1.3 (USO), sections 5.1.3, "Feature bits", and 5.1.4, "Device
//! configuration layout".

use crate::virtio::device::FEATURES_COMMON;

const CSUM: u64 = 1;
const GUEST_CSUM: u64 = 1 << 1;
const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
/// A received frame may be spread over several chains.
pub const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const MQ: u64 = 1 << 22;
const GUEST_USO4: u64 = 1 << 54;
const GUEST_USO6: u64 = 1 << 55;
const HOST_USO: u64 = 1 << 56;

const OFFLOADS: u64 =
    CSUM | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | HOST_TSO4 | HOST_TSO6 | HOST_ECN;
/// What the driver may leave to the guest or take back while the card runs.
const GUEST_OFFLOADS: u64 = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_USO4 | GUEST_USO6;

/// The link is up, always: a tap has no cable.
const STATUS_LINK_UP: u16 = 1;

/// What a card offers.
pub fn offered(queue_pairs: usize, has_mtu: bool, udp_segments: bool) -> u64 {
    let several = if queue_pairs > 1 { MQ | CTRL_VQ | CTRL_GUEST_OFFLOADS } else { 0 };
    let mtu = if has_mtu { MTU } else { 0 };
    let udp = if udp_segments { GUEST_USO4 | GUEST_USO6 | HOST_USO } else { 0 };
    FEATURES_COMMON | OFFLOADS | MAC | STATUS | MRG_RXBUF | several | mtu | udp
}

/// The configuration space: address, status, number of queue pairs, MTU.
pub fn configuration(mac: [u8; 6], queue_pairs: usize, mtu: Option<u16>) -> Vec<u8> {
    let mut space = mac.to_vec();
    space.extend_from_slice(&STATUS_LINK_UP.to_le_bytes());
    space.extend_from_slice(&(queue_pairs as u16).to_le_bytes());
    space.extend_from_slice(&mtu.unwrap_or(0).to_le_bytes());
    space
}

/// What the driver accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    fn has(self, features: u64) -> bool {
        self.0 & features == features
    }

    /// The host completes checksums.
    pub fn host_checksums(self) -> bool {
        self.has(CSUM)
    }

    /// The host splits TCP over IPv4, of connections with explicit congestion notification too.
    pub fn host_splits_tcp4(self, ecn: bool) -> bool {
        self.has(CSUM | HOST_TSO4 | if ecn { HOST_ECN } else { 0 })
    }

    /// The same over IPv6.
    pub fn host_splits_tcp6(self, ecn: bool) -> bool {
        self.has(CSUM | HOST_TSO6 | if ecn { HOST_ECN } else { 0 })
    }

    /// The host splits UDP.
    pub fn host_splits_udp(self) -> bool {
        self.has(CSUM | HOST_USO)
    }

    /// A received frame may be spread over several chains.
    pub fn merges_buffers(self) -> bool {
        self.has(MRG_RXBUF)
    }

    /// The driver uses more than the first pair of queues, once it says so.
    pub fn several_queues(self) -> bool {
        self.has(MQ | CTRL_VQ)
    }

    /// There is a control queue.
    pub fn control_queue(self) -> bool {
        self.has(CTRL_VQ)
    }

    /// The offloads of received frames, which the driver may choose among later.
    pub fn guest_offloads(self) -> u64 {
        self.0 & GUEST_OFFLOADS
    }

    /// The choice `wanted` among the agreed offloads of received frames; `None` if it is none.
    pub fn choose_guest_offloads(self, wanted: u64) -> Option<Features> {
        let allowed = self.has(CTRL_GUEST_OFFLOADS) && wanted & !self.guest_offloads() == 0;
        allowed.then_some(Features(self.0 & !GUEST_OFFLOADS | wanted))
    }

    /// What the tap may leave to the guest.
    pub fn tap_offloads(self) -> libc::c_uint {
        if !self.has(GUEST_CSUM) {
            return 0;
        }
        // Linux refuses ECN without TCP, and UDP over one of the two only.
        let tcp = self.0 & (GUEST_TSO4 | GUEST_TSO6) != 0;
        let offloads = [
            (self.has(GUEST_TSO4), libc::TUN_F_TSO4),
            (self.has(GUEST_TSO6), libc::TUN_F_TSO6),
            (self.has(GUEST_ECN) && tcp, libc::TUN_F_TSO_ECN),
            (self.has(GUEST_USO4 | GUEST_USO6), libc::TUN_F_USO4 | libc::TUN_F_USO6),
        ];
        let agreed = offloads.iter().filter(|(agreed, _)| *agreed);
        agreed.fold(libc::TUN_F_CSUM, |sum, (_, offload)| sum | offload)
    }
}

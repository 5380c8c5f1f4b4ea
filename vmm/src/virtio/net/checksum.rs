//! Where in a frame the host may write a checksum for the guest.
//!
//! Responsible for: which places are a checksum's. Must not know: who writes there, or when. Follows RFC 791, 8200, 9293 and 768, and
//! docs/threat-model.md, "Pod to pod".
//!
//! The host's network card or its kernel writes a checksum where the header in front of the frame says, long after the host's filters
//! have looked at the frame: at any other place it would change addresses, ports or types behind them.

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: usize = 14;
/// What has to be seen of a frame: up to the protocol in an IPv4 header, its tenth byte.
pub const START_BYTES: usize = ETHERNET_BYTES + 10;
/// Bytes of the shortest IPv4 header, and of an IPv6 header.
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;

/// A version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 4.
    V4,
    /// 6.
    V6,
}

/// What a frame is that says how it is to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its version.
    pub version: Version,
    protocol: u8,
    /// Where in the frame the protocol's own header starts.
    payload: usize,
}

impl Packet {
    /// Reads the first [`START_BYTES`] of a frame. `None` if it is no IP packet right behind an Ethernet header. What is behind a header
    /// of extensions has no protocol here that may have a checksum: Linux has the host complete none of these.
    pub fn of(start: &[u8]) -> Option<Self> {
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            t0,
            t1,
            first,
            _,
            _,
            _,
            _,
            _,
            v6_protocol,
            _,
            _,
            v4_protocol,
        ] = *start.first_chunk::<START_BYTES>()?;
        match ([t0, t1], first >> 4) {
            (ETHERTYPE_IPV4, 4) => {
                let header = usize::from(first & 0xf) * 4;
                (header >= IPV4_BYTES).then_some(Self {
                    version: Version::V4,
                    protocol: v4_protocol,
                    payload: ETHERNET_BYTES + header,
                })
            }
            (ETHERTYPE_IPV6, 6) => Some(Self {
                version: Version::V6,
                protocol: v6_protocol,
                payload: ETHERNET_BYTES + IPV6_BYTES,
            }),
            _ => None,
        }
    }

    /// Whether a checksum over everything from `start` on, `offset` bytes behind it, is TCP's.
    pub fn is_tcp_checksum(&self, start: usize, offset: usize) -> bool {
        (self.protocol, start, offset) == (PROTOCOL_TCP, self.payload, TCP_CHECKSUM)
    }

    /// Whether it is UDP's.
    pub fn is_udp_checksum(&self, start: usize, offset: usize) -> bool {
        (self.protocol, start, offset) == (PROTOCOL_UDP, self.payload, UDP_CHECKSUM)
    }

    /// Whether it is the checksum of this packet, or of one that it carries through a tunnel, whose headers are nobody's but the
    /// tunnel's other end's.
    pub fn may_have_checksum(&self, start: usize, offset: usize) -> bool {
        let carried = match self.protocol {
            PROTOCOL_UDP => start >= self.payload + UDP_BYTES,
            PROTOCOL_IPV4 | PROTOCOL_IPV6 | PROTOCOL_GRE => start >= self.payload,
            _ => false,
        };
        carried || self.is_tcp_checksum(start, offset) || self.is_udp_checksum(start, offset)
    }
}

//! What is said about tunnels. New variants and fields go last: a position is its wire encoding (postcard).
//!
//! Responsible for: the vocabulary. Must not know: what becomes of the bytes. Follows the crate's documentation, "tunnel".

use serde::{Deserialize, Serialize};

/// Number of a tunnel, given by the side that opens it. It may be given again once both sides have ended the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TunnelId(pub u16);

impl TunnelId {
    /// Set in the numbers that the host gives, so that both sides can open tunnels at the same time.
    const OF_HOST: u16 = 1 << 15;

    /// A number of the host's or the guest's.
    pub fn numbered(number: u16, of_host: bool) -> Self {
        let number = number & !Self::OF_HOST;
        Self(if of_host { number | Self::OF_HOST } else { number })
    }

    /// Whether the host gave it.
    pub fn is_of_host(self) -> bool {
        self.0 & Self::OF_HOST != 0
    }
}

/// Where a tunnel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    /// The host's metadata service. Opened by the guest.
    MetadataService,
    /// An app's socket of this number ([`crate::ListeningSocket::number`]). Opened by the host.
    Socket(u16),
}

impl Destination {
    /// How many tunnels of its kind a pod may have at once.
    pub fn limit(self) -> usize {
        match self {
            Self::MetadataService => crate::MAX_METADATA_TUNNELS,
            Self::Socket(_) => crate::MAX_SOCKET_TUNNELS,
        }
    }

    /// Whether tunnels to both count together.
    pub fn shares_limit_with(self, other: Self) -> bool {
        matches!(self, Self::MetadataService) == matches!(other, Self::MetadataService)
    }

    /// Whether a server that says nothing more has ended the tunnel in both directions: HTTP without upgrades.
    pub fn ends_as_a_whole(self) -> bool {
        self == Self::MetadataService
    }
}

/// What is said about tunnels, in both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TunnelMessage {
    /// Somebody has connected. From the guest only if the pod uses the metadata service ([`crate::PodSpec::metadata_service`]), from
    /// the host only to sockets that it told the guest of; no more at once than [`Destination::limit`].
    Opened {
        /// The new number.
        tunnel: TunnelId,
        /// Where to.
        destination: Destination,
    },
    /// Bytes, at most [`crate::MAX_TUNNEL_BYTES`], within the tunnel's credit.
    Data {
        /// The tunnel.
        tunnel: TunnelId,
        /// The bytes, unchanged.
        #[serde(with = "crate::bytes")]
        data: Vec<u8>,
    },
    /// What came through the tunnel has gone on: the other side may send as many more bytes.
    Credit {
        /// The tunnel.
        tunnel: TunnelId,
        /// Bytes, added to what is left.
        bytes: u32,
    },
    /// Nothing more comes from this side; what still arrives may be dropped. Once both sides have said it, the number is free.
    End(TunnelId),
}

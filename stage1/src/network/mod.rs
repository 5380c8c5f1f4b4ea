//! The networks of a pod, on the host's side: a network name space of its own, in which plugins put their interfaces, and beside
//! each of these a tap that leads to a card of the pod's machine.
//!
//! Responsible for: where things are, and what the rest of stage1 gets. Must not know: virtual machines, but for what a card is made
//! of. Follows docs/architecture.md, "Networks", and rkt-reference 2.2, 4.9 and 6.7.
//!
//! ```text
//! setup      the order of it all, and its undoing when a step fails
//! teardown   the same from what is in the pod's directory alone, for gc
//! namespace  the name space: made, entered, removed
//! settings   what plugins set with sysctl(8)
//! links      an interface's addresses, routes and rules, as a plugin left them
//! tap        the tap beside an interface
//! redirect   what arrives at the one leaves through the other
//! firewall   the host's rules for the pod
//! info       what the pod's directory says about its networks
//! ```

mod firewall;
mod info;
mod links;
mod namespace;
mod redirect;
mod settings;
mod setup;
mod tap;
mod teardown;

#[cfg(test)]
mod firewall_test;
#[cfg(test)]
mod info_test;
#[cfg(test)]
mod links_test;
#[cfg(test)]
mod redirect_test;
#[cfg(test)]
mod settings_test;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cni::{Cache, Client};

pub use self::firewall::{PortError, forwards, reserve};
pub use setup::{Wanted, set_up};
pub use tap::Card;
pub use teardown::tear_down;

use crate::pod_directory;

/// Plugins that this host's administrator has added to rkt's.
const HOST_PLUGINS: &str = "/usr/lib/rkt/plugins/net";

/// Where distributions and other programs put plugins.
const SHARED_PLUGINS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// What stage1 brings along: networks and the plugins for them.
const BUILT_IN_NETWORKS: &str = "etc/rkt/net.d";
const BUILT_IN_PLUGINS: &str = "usr/lib/rkt/plugins/net";

/// Where the administrator's networks are, without `--local-config`.
const LOCAL_CONFIG: &str = "/etc/rkt";

/// In the pod's directory: what the plugins did, for those that are to undo it.
const CACHE: &str = "net/cache";

/// Why a pod's networks could not be set up or taken down.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The name space.
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    /// A configuration or a plugin; with every cause, since the innermost one is seldom what a plugin has said.
    #[error("{0}")]
    Cni(String),
    /// More networks than a machine has room for.
    #[error("a pod can have {max} networks, not {0}", max = guest_api::MAX_INTERFACES)]
    TooMany(usize),
    /// A plugin has said that all went well, and there is no such interface.
    #[error("network {network:?}: its plugin made no interface {interface}")]
    NoInterface {
        /// The network.
        network: String,
        /// The interface.
        interface: String,
    },
    /// The interface is of a kind that no card of a machine can be.
    #[error("network {network:?}: interface {interface} is none for Ethernet")]
    NotEthernet {
        /// The network.
        network: String,
        /// The interface.
        interface: String,
    },
    /// What arrives for the interface never is a frame.
    #[error(
        "network {network:?}: interface {interface} of mode l3s gets packets, not frames, and so cannot be a machine's; \
         mode l3 can be used"
    )]
    Routed {
        /// The network.
        network: String,
        /// The interface.
        interface: String,
    },
    /// rkt's pods have an address on each network.
    #[error("network {0:?}: net-plugin returned no IP configuration")]
    NoAddress(String),
    /// Where a packet goes would be chance.
    #[error("networks {first:?} and {second:?} have the same subnet ({subnet})")]
    SameSubnet {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The subnet of the other.
        subnet: guest_api::Prefix,
    },
    /// What the plugins made cannot be in a machine.
    #[error("the pod's networks cannot be")]
    Fault(#[from] guest_api::NetworkFault),
    /// The kernel did not do it.
    #[error("network {network:?}: cannot {doing}")]
    Kernel {
        /// The network.
        network: String,
        /// What.
        doing: &'static str,
        /// Why.
        #[source]
        cause: netlink::NetlinkError,
    },
    /// The host's packet filter.
    #[error(transparent)]
    Firewall(#[from] ::firewall::table::TableError),
    /// The guest could not be kept from playing somebody else.
    #[error("network {network:?}: the pod's addresses cannot be enforced")]
    Addresses {
        /// The network.
        network: String,
        /// Why.
        #[source]
        cause: ::firewall::spoofing::TooManyAddresses,
    },
    /// An address of the pod's has no network.
    #[error("network {network:?}: the pod's address makes no sense")]
    Subnet {
        /// The network.
        network: String,
        /// Why.
        #[source]
        cause: nftables::SubnetError,
    },
    /// The tap could not be made.
    #[error("network {network:?}: cannot make a tap")]
    Tap {
        /// The network.
        network: String,
        /// Why.
        #[source]
        cause: vmm::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// What was begun is still there, which gc tries again.
    #[error("{failure}; what was done is not undone: {undo}")]
    NotUndone {
        /// Why it was to be undone.
        failure: String,
        /// Why it is not.
        undo: String,
    },
}

impl From<cni::CniError> for NetworkError {
    fn from(error: cni::CniError) -> Self {
        Self::Cni(error.with_causes())
    }
}

/// Where plugins are looked for, in order.
fn plugin_directories(local_config: &Path) -> Vec<PathBuf> {
    let own = [local_config.join("net.d"), PathBuf::from(HOST_PLUGINS)];
    let built_in = pod_directory::stage1(BUILT_IN_PLUGINS);
    own.into_iter().chain([built_in]).chain(SHARED_PLUGINS.map(PathBuf::from)).collect()
}

fn client(local_config: Option<&Path>, interrupt: Option<Arc<File>>) -> Client {
    let client = Client::new(plugin_directories(local_config.unwrap_or(Path::new(LOCAL_CONFIG))));
    match interrupt {
        Some(interrupt) => client.with_interrupt(interrupt),
        None => client,
    }
}

fn cache() -> Cache {
    Cache::new(CACHE)
}

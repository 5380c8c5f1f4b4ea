//! A client of the Container Network Interface, versions 0.1.0 to 1.1.0.
//!
//! Responsible for: finding network configurations, running their plugins, and remembering what teardown needs. Must not
//! know: pods, virtual machines, or which networks anybody wants. Follows the CNI specification
//! (<https://github.com/containernetworking/cni/blob/main/SPEC.md>) and rkt-reference 6.7.
//!
//! [`load`] finds the [`Network`]s that a [`Selection`] names; a [`Client`] adds an [`Attachment`] to one of them, which
//! gives an [`AddResult`] and leaves a [`Record`] in the [`Cache`]; the record alone is enough to delete it again.

pub mod cache;
pub mod chain;
pub mod config;
pub mod error;
pub mod flannel;
pub mod load;
pub mod plugin;
pub mod result;
pub mod runtime;
pub mod version;

#[cfg(test)]
mod cache_test;
#[cfg(test)]
mod chain_test;
#[cfg(test)]
mod config_test;
#[cfg(test)]
mod flannel_test;
#[cfg(test)]
mod load_test;
#[cfg(test)]
mod plugin_test;
#[cfg(test)]
mod result_test;
#[cfg(test)]
mod scripted;

pub use cache::{Cache, Record};
pub use chain::{Client, ValidAttachment};
pub use config::{Network, Plugin};
pub use error::CniError;
pub use load::{Directories, Loaded, Request, Selected, Selection, load};
pub use result::{AddResult, Dns, Interface, IpConfig, IpNet, Route};
pub use runtime::{Attachment, Bandwidth, PortMapping, RuntimeConfig};
pub use version::Version;

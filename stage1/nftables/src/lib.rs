//! Tables, chains and rules of the kernel's packet filter, nf_tables, over netlink.
//!
//! Responsible for: transactions of them, in the kernel's binary form, and the kernel's refusals in words. Must not know: pods, or
//! what any rule is for. Follows linux/netfilter/nf_tables.h and nfnetlink.h; `nft --debug=netlink` shows the same expressions.
//!
//! A [`Batch`] is carried out as a whole or not at all. Only the expressions that rkt uses are here.

mod attributes;
mod batch;
mod chain;
mod connection;
mod expression;
mod list;
mod rule;
mod subnet;

pub use batch::{Batch, Family, Table};
pub use chain::{Chain, Hook, Policy, Priority};
pub use connection::{Connection, NftError};
pub use expression::{ConnectionState, Refusal};
pub use rule::{Match, Ports, Protocol, Rule, Verdict};
pub use subnet::{Subnet, SubnetError};

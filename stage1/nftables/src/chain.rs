//! Chains that packets pass through.
//!
//! Responsible for: where in a packet's way a chain stands. Must not know: the rules in it. Follows nft(8), "CHAINS", and
//! linux/netfilter.h.

use crate::attributes::Attributes;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;

/// A place in a packet's way, and with it what rules may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook<'a> {
    /// Packets that come in, whomever they are for; to a bridge, in tables of that family.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets that pass through this host.
    Forward,
    /// The first packet of each connection that comes in, to change where it leads.
    NatPrerouting,
    /// The first packet of each connection of this host's own, to change where it leads.
    NatOutput,
    /// The first packet of each connection that goes out, to change where it seems to come from.
    NatPostrouting,
    /// Everything that a device receives; in tables of the family netdev only.
    Ingress {
        /// The device's name.
        device: &'a str,
    },
}

impl Hook<'_> {
    const fn number(self) -> u32 {
        match self {
            Hook::Prerouting | Hook::NatPrerouting | Hook::Ingress { .. } => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::NatOutput => 3,
            Hook::NatPostrouting => 4,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Hook::NatPrerouting | Hook::NatOutput | Hook::NatPostrouting => "nat",
            Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Ingress { .. } => "filter",
        }
    }
}

/// Order of the chains of one place; those with lower numbers come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before connections are tracked.
    Raw,
    /// Where destinations are changed.
    DestinationNat,
    /// Where most filters are.
    Filter,
    /// Where sources are changed.
    SourceNat,
    /// On bridges: behind the tracking of connections, and before br_netfilter, which takes packets away from whoever comes later.
    Bridged,
}

impl Priority {
    const fn number(self) -> i32 {
        match self {
            Priority::Raw => -300,
            Priority::DestinationNat => -100,
            Priority::Filter => 0,
            Priority::SourceNat => 100,
            Priority::Bridged => -150,
        }
    }
}

/// What happens to packets that no rule decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They go on, to whatever other chain there is.
    Accept,
    /// They are gone.
    Drop,
}

/// A chain at a place in a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name in its table.
    pub name: &'a str,
    /// Where it stands.
    pub hook: Hook<'a>,
    /// Before and after which others.
    pub priority: Priority,
    /// What happens at its end.
    pub policy: Policy,
}

impl Chain<'_> {
    pub(crate) fn attributes(&self, table: &str) -> Attributes {
        let priority = self.priority.number().cast_unsigned();
        let mut hook = Attributes::new()
            .number(NFTA_HOOK_HOOKNUM, self.hook.number())
            .number(NFTA_HOOK_PRIORITY, priority);
        if let Hook::Ingress { device } = self.hook {
            hook = hook.text(NFTA_HOOK_DEV, device);
        }
        let policy = match self.policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        Attributes::new()
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, self.name)
            .nested(NFTA_CHAIN_HOOK, &hook)
            .number(NFTA_CHAIN_POLICY, policy)
            .text(NFTA_CHAIN_TYPE, self.hook.kind())
    }

    /// A chain that no packet comes through.
    pub(crate) fn bare(table: &str, name: &str) -> Attributes {
        Attributes::new().text(NFTA_CHAIN_TABLE, table).text(NFTA_CHAIN_NAME, name)
    }
}

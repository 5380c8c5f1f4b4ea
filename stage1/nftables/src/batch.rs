//! Transactions.
//!
//! Responsible for: the order of messages between a transaction's begin and end, and what each of them is called when the kernel
//! refuses it. Must not know: sockets. Follows linux/netfilter/nfnetlink.h.

use std::fmt;

use crate::attributes::Attributes;
use crate::chain::Chain;
use crate::rule::Rule;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;
const NFTA_TABLE_NAME: u16 = 1;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

const HEADER_BYTES: usize = 20;

/// What packets a table's chains see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6 packets.
    Inet,
    /// Frames of one device.
    Netdev,
    /// Frames that come to a bridge.
    Bridge,
}

impl Family {
    const fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Netdev => 5,
            Family::Bridge => 7,
        }
    }
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// What its chains see.
    pub family: Family,
    /// Its name, one for each family.
    pub name: &'a str,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Inet => "inet",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
        };
        write!(f, "{family} {}", self.name)
    }
}

/// A message of a transaction.
#[derive(Clone, Debug)]
struct Message {
    kind: u16,
    flags: u16,
    family: Family,
    attributes: Attributes,
    what: String,
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch(Vec<Message>);

/// A transaction as the kernel gets it.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_sequence: u32,
    /// What the messages are, from that number on.
    pub(crate) names: Vec<String>,
}

impl Batch {
    /// No changes so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a table that is not there yet.
    pub fn add_table(&mut self, table: Table<'_>) {
        self.table(table, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, format!("make the table {table}"));
    }

    /// Removes a table and all that is in it. That it is not there is no error.
    pub fn remove_table(&mut self, table: Table<'_>) {
        // Kernels before 6.3 cannot remove what may be missing; so it is there before it is removed.
        self.table(table, NFT_MSG_NEWTABLE, NLM_F_CREATE, format!("find the table {table}"));
        self.table(table, NFT_MSG_DELTABLE, 0, format!("remove the table {table}"));
    }

    /// The changes of `other` after these.
    pub fn append(&mut self, mut other: Batch) {
        self.0.append(&mut other.0);
    }

    fn table(&mut self, table: Table<'_>, kind: u16, flags: u16, what: String) {
        let attributes = Attributes::new().text(NFTA_TABLE_NAME, table.name);
        self.0.push(Message { kind, flags, family: table.family, attributes, what });
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, table: Table<'_>, chain: &Chain<'_>) {
        let what = format!("make the chain {} of the table {table}", chain.name);
        self.chain(table, chain.attributes(table.name), what);
    }

    /// Makes a chain that no packet comes through: its name is all there is to it.
    pub fn add_mark(&mut self, table: Table<'_>, name: &str) {
        let what = format!("make the mark {name} of the table {table}");
        self.chain(table, Chain::bare(table.name, name), what);
    }

    fn chain(&mut self, table: Table<'_>, attributes: Attributes, what: String) {
        self.0.push(Message {
            kind: NFT_MSG_NEWCHAIN,
            flags: NLM_F_CREATE,
            family: table.family,
            attributes,
            what,
        });
    }

    /// Adds a rule behind those of the chain. `purpose` is said if the kernel does not take it.
    pub fn add_rule(&mut self, table: Table<'_>, chain: &str, rule: &Rule, purpose: &str) {
        self.0.push(Message {
            kind: NFT_MSG_NEWRULE,
            flags: NLM_F_CREATE | NLM_F_APPEND,
            family: table.family,
            attributes: rule.attributes(table, chain),
            what: format!("{purpose} (chain {chain} of the table {table})"),
        });
    }

    /// Numbers the messages from `sequence` on.
    pub(crate) fn encode(self, sequence: u32) -> Encoded {
        let mut bytes = Vec::new();
        let edge = |kind| (kind, NLM_F_REQUEST, 0, NFNL_SUBSYS_NFTABLES);
        push(&mut bytes, sequence, edge(NFNL_MSG_BATCH_BEGIN), &[]);
        let first_sequence = sequence.wrapping_add(1);
        let mut next = first_sequence;
        let mut names = Vec::new();
        let count = self.0.len();
        for (index, message) in self.0.into_iter().enumerate() {
            // All of them are looked at before the first answer is sent, so the last one's is enough.
            let answer = if index + 1 == count { NLM_F_ACK } else { 0 };
            let kind = NFNL_SUBSYS_NFTABLES << 8 | message.kind;
            let header = (kind, NLM_F_REQUEST | message.flags | answer, message.family.number(), 0);
            push(&mut bytes, next, header, message.attributes.as_bytes());
            next = next.wrapping_add(1);
            names.push(message.what);
        }
        push(&mut bytes, next, edge(NFNL_MSG_BATCH_END), &[]);
        Encoded { bytes, first_sequence, names }
    }
}

/// A request for a list: everything of one kind in the family.
pub(crate) fn dump(kind: u16, family: Family, sequence: u32) -> Vec<u8> {
    const NLM_F_DUMP: u16 = 0x300;
    let mut bytes = Vec::new();
    let header = (NFNL_SUBSYS_NFTABLES << 8 | kind, NLM_F_REQUEST | NLM_F_DUMP, family.number(), 0);
    push(&mut bytes, sequence, header, &[]);
    bytes
}

/// Adds a message of `(kind, flags, family, resource)`. All of them are multiples of four bytes long.
fn push(target: &mut Vec<u8>, sequence: u32, header: (u16, u16, u8, u16), attributes: &[u8]) {
    let (kind, flags, family, resource) = header;
    let length = u32::try_from(HEADER_BYTES + attributes.len()).unwrap_or(u32::MAX);
    target.extend_from_slice(&length.to_ne_bytes());
    target.extend_from_slice(&kind.to_ne_bytes());
    target.extend_from_slice(&flags.to_ne_bytes());
    target.extend_from_slice(&sequence.to_ne_bytes());
    target.extend_from_slice(&0_u32.to_ne_bytes());
    target.extend_from_slice(&[family, 0]);
    target.extend_from_slice(&resource.to_be_bytes());
    target.extend_from_slice(attributes);
}

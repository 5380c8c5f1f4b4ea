//! The single steps that rules consist of.
//!
//! Responsible for: their binary form. Must not know: which of them belong together. Follows linux/netfilter/nf_tables.h.

use crate::attributes::Attributes;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

const NFT_REG_VERDICT: u32 = 0;

/// The family's number in the kernel.
pub const NFPROTO_IPV4: u8 = 2;
/// The family's number in the kernel.
pub const NFPROTO_IPV6: u8 = 10;

/// A place for up to 16 bytes between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Register {
    One = 1,
    Two = 2,
}

/// Where in a packet something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Header {
    Network = 1,
    Transport = 2,
}

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    Ethertype = 1,
    InputName = 6,
    OutputName = 7,
    Family = 15,
    Transport = 16,
}

/// What is known of the connection that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Connection {
    State = 0,
    Status = 2,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Comparison {
    Equal = 0,
    Different = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// States of connections; they can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState(pub(crate) u32);

impl ConnectionState {
    /// Packets were seen in both directions.
    pub const ESTABLISHED: Self = Self(1 << 1);
    /// It belongs to another connection, as an error message does.
    pub const RELATED: Self = Self(1 << 2);

    /// Either of them.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a sender is told that its packet was not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As a port at which nobody listens does; for TCP only.
    Reset,
    /// By an error message: forbidden by an administrator.
    Prohibited,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Bytes of the packet into a register.
    Payload { header: Header, offset: u32, length: u32, to: Register },
    /// Something about the packet into the first register.
    Meta(Meta),
    /// Something about the connection into the first register.
    Connection(Connection),
    /// The kind of address that the packet goes to, by the routing table, into the first register.
    DestinationType,
    /// Clears bits of the first register.
    Mask(Vec<u8>),
    /// Goes on if the first register compares so.
    Compare(Comparison, Vec<u8>),
    /// Bytes into a register.
    Immediate(Register, Vec<u8>),
    /// Changes where the connection leads: the address is in the first register, a port, if at all, in the second.
    DestinationNat { family: u8, with_port: bool },
    /// Changes where the connection seems to come from: the address of the interface it leaves by.
    Masquerade,
    /// Counts packets and bytes.
    Counter,
    /// Tells the sender no.
    Reject(Refusal),
    /// Ends the rule with this verdict: 0 drops, 1 accepts.
    Verdict(u32),
}

/// The list of a rule's steps.
pub fn list(expressions: &[Expression]) -> Attributes {
    expressions.iter().fold(Attributes::new(), |list, expression| {
        let (name, data) = expression.data();
        let element = Attributes::new().text(NFTA_EXPR_NAME, name).nested(NFTA_EXPR_DATA, &data);
        list.nested(NFTA_LIST_ELEM, &element)
    })
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(NFTA_DATA_VALUE, bytes)
}

impl Expression {
    fn data(&self) -> (&'static str, Attributes) {
        let one = Register::One as u32;
        let empty = Attributes::new();
        match self {
            Self::Payload { header, offset, length, to } => {
                let base = *header as u32;
                let data = empty.number(1, *to as u32).number(2, base).number(3, *offset);
                ("payload", data.number(4, *length))
            }
            Self::Meta(key) => ("meta", empty.number(2, *key as u32).number(1, one)),
            Self::Connection(key) => ("ct", empty.number(2, *key as u32).number(1, one)),
            Self::DestinationType => {
                let (result_address_type, flag_destination) = (3, 1 << 1);
                ("fib", empty.number(3, flag_destination).number(2, result_address_type).number(1, one))
            }
            Self::Mask(mask) => {
                let data = empty.number(1, one).number(2, one).number(3, length(mask));
                ("bitwise", data.nested(4, &value(mask)).nested(5, &value(&vec![0; mask.len()])))
            }
            Self::Compare(how, bytes) => {
                ("cmp", empty.number(1, one).number(2, *how as u32).nested(3, &value(bytes)))
            }
            Self::Immediate(register, bytes) => {
                ("immediate", empty.number(1, *register as u32).nested(2, &value(bytes)))
            }
            Self::DestinationNat { family, with_port } => {
                let kind = 1;
                let data = empty.number(1, kind).number(2, u32::from(*family)).number(3, one);
                ("nat", if *with_port { data.number(5, Register::Two as u32) } else { data })
            }
            Self::Masquerade => ("masq", empty),
            Self::Counter => ("counter", empty),
            Self::Reject(how) => {
                let (kind, code) = match how {
                    Refusal::Reset => (1, 0),
                    Refusal::Prohibited => (2, 3),
                };
                ("reject", empty.number(1, kind).bytes(2, &[code]))
            }
            Self::Verdict(code) => {
                let verdict = Attributes::new().number(NFTA_VERDICT_CODE, *code);
                let data = Attributes::new().nested(NFTA_DATA_VERDICT, &verdict);
                ("immediate", empty.number(1, NFT_REG_VERDICT).nested(2, &data))
            }
        }
    }
}

/// Masks are as long as addresses at most.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

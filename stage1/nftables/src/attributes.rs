//! Attributes of netlink messages.
//!
//! Responsible for: lengths, types, padding and nesting. Must not know: what any attribute means. Follows
//! linux/netlink.h, `struct nlattr`.

/// Everything in a message begins at a multiple of this.
const ALIGNMENT: usize = 4;

/// The attribute's value consists of attributes.
const NESTED: u16 = 1 << 15;

/// Bits of an attribute's type that are flags.
const TYPE_MASK: u16 = 0x3fff;

/// Bytes of an attribute before its value.
const HEADER_BYTES: usize = 4;

/// Attributes, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        push(&mut self.0, kind, value);
        self
    }

    /// A text with the NUL behind it that the kernel wants.
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A number: nf_tables has them big-endian.
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub fn nested(self, kind: u16, value: &Attributes) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn push(target: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // No value here is longer than a rule, of which there are at most some hundred bytes.
    let length = u16::try_from(HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
    target.extend_from_slice(&length.to_ne_bytes());
    target.extend_from_slice(&kind.to_ne_bytes());
    target.extend_from_slice(value);
    target.resize(target.len().next_multiple_of(ALIGNMENT), 0);
}

/// The attributes in an answer of the kernel's; what is cut off ends them.
pub fn parse(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some((length, kind)) = header(bytes) {
        let Some(value) = bytes.get(HEADER_BYTES..length) else { break };
        found.push((kind & TYPE_MASK, value));
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    found
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    Some((usize::from(length), kind))
}

/// A text of the kernel's, without the NUL behind it.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
#[path = "attributes_test.rs"]
mod attributes_test;

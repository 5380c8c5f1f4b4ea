//! An input as a sequence of numbers.
//!
//! Responsible for: cutting it up. Must not know: what numbers mean. An input that ends too soon goes on with zeros, so that most inputs
//! mean something.

/// What is left of an input.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// All of it.
    pub fn new(data: &'a [u8]) -> Self {
        Script(data)
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number of so many bytes, at most 8, little-endian.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.bytes(bytes).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// The next two bytes.
    pub fn short(&mut self) -> u16 {
        self.number(2) as u16
    }

    /// The next bytes, as many or what there is.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        self.0 = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

//! Numbers that look random and can be had again: tests that try many orders print their seed, and take another from
//! `RKT_TEST_SEED`. The generator is splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that differs from run to run, unless `RKT_TEST_SEED` says which. Its seed is printed.
    pub fn new() -> Self {
        let seed = env::var("RKT_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos())
        });
        println!("RKT_TEST_SEED={seed}");
        Self(seed)
    }

    /// A further sequence, for a thread of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("it is below a usize")
    }

    /// A time up to `limit`.
    pub fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.number() as f64 / u64::MAX as f64)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

//! Limits on the rate of one direction.
//!
//! Responsible for: how much may pass now, and when more may. Must not know: what passes, clocks. Follows the token bucket of
//! Linux's tc-tbf(8): bytes and packets each have one.

use std::time::{Duration, Instant};

use crate::{NetLimit, Rate};

/// The shortest wait: what comes together meanwhile passes together, and a low rate does not keep a processor awake.
const MIN_WAIT: Duration = Duration::from_millis(1);
/// The longest, after which the bucket is looked at again.
const MAX_WAIT: Duration = Duration::from_secs(1);
const NANOSECONDS: u128 = 1_000_000_000;

/// A bucket. It passes while it is not empty, and what passes may leave it in debt: a frame larger than the burst passes too.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Tokens in it, in billionths.
    level: i128,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Bucket { rate, level: Self::full(rate), filled: now }
    }

    fn full(rate: Rate) -> i128 {
        (u128::from(rate.burst.get()) * NANOSECONDS) as i128
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        self.filled = now;
        let gained = passed.saturating_mul(u128::from(self.rate.per_second.get()));
        let gained = i128::try_from(gained).unwrap_or(i128::MAX);
        self.level = self.level.saturating_add(gained).min(Self::full(self.rate));
    }

    fn take(&mut self, amount: u64) {
        self.level = self.level.saturating_sub((u128::from(amount) * NANOSECONDS) as i128);
    }

    /// How long until something may pass; `None` if it may now.
    fn wait(&self) -> Option<Duration> {
        if self.level > 0 {
            return None;
        }
        let nanoseconds = self.level.unsigned_abs() / u128::from(self.rate.per_second.get()) + 1;
        let wait = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Some(wait.clamp(MIN_WAIT, MAX_WAIT))
    }
}

/// The limits of one direction.
#[derive(Debug)]
pub struct Limiter {
    bytes: Option<Bucket>,
    packets: Option<Bucket>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(limit: NetLimit, now: Instant) -> Self {
        let bucket = |rate| Bucket::new(rate, now);
        Limiter { bytes: limit.bytes.map(bucket), packets: limit.packets.map(bucket) }
    }

    fn buckets(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.bytes.iter_mut().chain(&mut self.packets)
    }

    /// Whether there is any limit.
    pub fn limits(&self) -> bool {
        self.bytes.is_some() || self.packets.is_some()
    }

    /// How long until a frame may pass; `None` if it may at `now`.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.buckets()
            .filter_map(|bucket| {
                bucket.fill(now);
                bucket.wait()
            })
            .max()
    }

    /// Takes note of what has passed.
    pub fn passed(&mut self, bytes: usize, packets: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes as u64);
        }
        if let Some(bucket) = &mut self.packets {
            bucket.take(packets);
        }
    }
}

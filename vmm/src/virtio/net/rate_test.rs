use std::time::{Duration, Instant};

use super::rate::Limiter;
use crate::{NetLimit, Rate};

fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() })
}

#[test]
fn nothing_is_limited_by_default() {
    let now = Instant::now();
    let mut limiter = Limiter::new(NetLimit::default(), now);

    limiter.passed(usize::MAX, u64::MAX);

    assert!(!limiter.limits());
    assert_eq!(limiter.wait(now), None);
}

#[test]
fn burst_passes_at_once_and_the_rest_at_the_rate() {
    let start = Instant::now();
    let mut limiter = Limiter::new(NetLimit { bytes: rate(1_000_000, 10_000), packets: None }, start);
    let mut passed = 0;
    for millisecond in 0..=1000 {
        while limiter.wait(start + Duration::from_millis(millisecond)).is_none() {
            limiter.passed(1000, 1);
            passed += 1000;
        }
    }

    // The last frame may leave the bucket in debt.
    assert!((1_010_000..=1_011_000).contains(&passed), "{passed}");
}

#[test]
fn slower_of_two_limits_decides() {
    let start = Instant::now();
    let limit = NetLimit { bytes: rate(1_000_000_000, 1_000_000), packets: rate(100, 1) };
    let mut limiter = Limiter::new(limit, start);

    limiter.passed(60, 1);

    assert_eq!(limiter.wait(start), Some(Duration::from_millis(1)));
    limiter.passed(60, 2);
    assert_eq!(limiter.wait(start), Some(Duration::from_nanos(20_000_001)));
    assert_eq!(limiter.wait(start + Duration::from_millis(21)), None);
}

#[test]
fn frame_larger_than_the_burst_passes_and_is_paid_for() {
    let start = Instant::now();
    let mut limiter = Limiter::new(NetLimit { bytes: rate(1000, 1), packets: None }, start);
    assert_eq!(limiter.wait(start), None);

    limiter.passed(501, 1);

    assert!(limiter.wait(start + Duration::from_millis(499)).is_some());
    assert_eq!(limiter.wait(start + Duration::from_millis(502)), None);
}

#[test]
fn long_pause_and_extreme_rates_do_not_overflow() {
    let start = Instant::now();
    let limit = NetLimit { bytes: rate(u64::MAX, u64::MAX), packets: rate(u64::MAX, u64::MAX) };
    let mut limiter = Limiter::new(limit, start);

    limiter.passed(usize::MAX, u64::MAX);
    limiter.passed(usize::MAX, u64::MAX);

    assert!(limiter.wait(start).is_some());
    assert_eq!(limiter.wait(start + Duration::from_secs(1 << 40)), None);
}

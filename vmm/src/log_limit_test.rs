use std::time::{Duration, Instant};

use crate::log_limit::LogLimit;

#[test]
fn burst_passes_and_the_rest_of_the_window_is_silent() {
    let limit = LogLimit::new();
    let now = Instant::now();

    let admitted = (0..1000).filter(|_| limit.admits(now)).count();

    assert_eq!(admitted, 10);
}

#[test]
fn next_window_admits_again() {
    let limit = LogLimit::new();
    let now = Instant::now();
    while limit.admits(now) {}

    assert!(limit.admits(now + Duration::from_secs(6)));
}

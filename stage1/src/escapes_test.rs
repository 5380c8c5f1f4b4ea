use std::time::{Duration, Instant};

use super::escapes::{Escapes, Keys};

fn pass(bytes: &[u8]) -> Keys {
    Keys::Pass(bytes.to_vec())
}

#[test]
fn three_brackets_within_a_second_end_the_pod_however_they_arrive() {
    let now = Instant::now();
    let mut escapes = Escapes::default();

    assert_eq!(escapes.feed(b"ls\x1d", now), pass(b"ls\x1d"));
    assert_eq!(escapes.feed(b"\x1d", now + Duration::from_millis(500)), pass(b"\x1d"));
    assert_eq!(escapes.feed(b"\x1d", now + Duration::from_secs(1)), Keys::End);
    assert_eq!(Escapes::default().feed(b"\x1d\x1d\x1d", now), Keys::End);
}

#[test]
fn three_brackets_that_take_longer_are_keys_like_any_other() {
    let now = Instant::now();
    let mut escapes = Escapes::default();

    for second in 0..5 {
        assert_eq!(escapes.feed(b"\x1d", now + Duration::from_millis(700 * second)), pass(b"\x1d"));
    }
}

#[test]
fn another_key_between_the_brackets_starts_the_count_again() {
    let keys = b"\x1d\x1da\x1d\x1db";

    assert_eq!(Escapes::default().feed(keys, Instant::now()), pass(keys));
}

#[test]
fn ctrl_a_x_ends_the_pod() {
    let now = Instant::now();
    let mut escapes = Escapes::default();

    assert_eq!(escapes.feed(b"\x01", now), pass(b"\x01"));
    assert_eq!(escapes.feed(b"x", now), Keys::End);
}

#[test]
fn ctrl_a_reaches_the_app_and_a_second_one_takes_back_its_meaning() {
    let now = Instant::now();

    assert_eq!(Escapes::default().feed(b"\x01y", now), pass(b"\x01y"));
    assert_eq!(Escapes::default().feed(b"\x01\x01x", now), pass(b"\x01x"));
    let mut late = Escapes::default();
    assert_eq!(late.feed(b"\x01", now), pass(b"\x01"));
    assert_eq!(late.feed(b"x", now + Duration::from_secs(2)), pass(b"x"));
}

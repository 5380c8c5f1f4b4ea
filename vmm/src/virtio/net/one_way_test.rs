use std::time::{Duration, Instant};

use crate::virtio::net::one_way::OneWay;

/// Receives frames one by one, at this distance from each other.
fn receive(one_way: &mut OneWay, frames: u32, start: Instant, distance: Duration) -> Instant {
    (0..frames).for_each(|frame| one_way.received(1, || start + distance * frame));
    start + distance * frames
}

const QUICK: Duration = Duration::from_micros(100);
const SLOW: Duration = Duration::from_millis(1);

#[test]
fn quick_frames_without_answers_are_one_way() {
    let mut one_way = OneWay::default();

    let time = receive(&mut one_way, 100, Instant::now(), QUICK);
    assert!(!one_way.holds());
    receive(&mut one_way, 200, time, QUICK);

    assert!(one_way.holds());
}

#[test]
fn frames_that_come_together_are_counted_each() {
    let mut one_way = OneWay::default();
    let now = Instant::now();

    (0..5).for_each(|_| one_way.received(64, || now));

    assert!(one_way.holds());
}

#[test]
fn slow_frames_are_not_and_a_stream_that_slows_down_no_longer() {
    let mut one_way = OneWay::default();

    let time = receive(&mut one_way, 600, Instant::now(), SLOW);
    assert!(!one_way.holds());
    let time = receive(&mut one_way, 600, time, QUICK);
    assert!(one_way.holds());
    receive(&mut one_way, 600, time, SLOW);

    assert!(!one_way.holds());
}

#[test]
fn answers_end_it_at_once_and_a_few_words_do_not() {
    let mut one_way = OneWay::default();
    let mut time = receive(&mut one_way, 600, Instant::now(), QUICK);

    for _ in 0..4 {
        one_way.sent(5);
        assert!(one_way.holds());
        time = receive(&mut one_way, 256, time, QUICK);
    }
    one_way.sent(9);

    assert!(!one_way.holds());
}

#[test]
fn conversation_is_never_one_way() {
    let mut one_way = OneWay::default();
    let now = Instant::now();

    for _ in 0..100 {
        one_way.received(16, || now);
        one_way.sent(1);

        assert!(!one_way.holds());
    }
}

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::retry::{is_transient, pause, requested};

#[test]
fn pauses_grow_and_are_never_the_same_for_everybody() {
    for (attempt, longest) in [(1, 500), (2, 1000), (3, 2000)] {
        for _ in 0..100 {
            let pause = pause(attempt, None).unwrap();
            assert!(pause >= Duration::from_millis(longest / 2) && pause <= Duration::from_millis(longest));
        }
    }
    let some: std::collections::HashSet<_> = (0..100).map(|_| pause(1, None).unwrap()).collect();
    assert!(some.len() > 1);
}

#[test]
fn server_may_ask_for_a_pause_but_not_for_a_long_one() {
    assert_eq!(pause(1, Some("3")), Some(Duration::from_secs(3)));
    assert_eq!(pause(1, Some("0")), Some(Duration::ZERO));
    assert_eq!(pause(1, Some("3600")), None);
    assert_eq!(pause(1, Some("18446744073709551615")), None);
    assert!(pause(1, Some("soon")).is_some_and(|pause| pause <= Duration::from_millis(500)));
}

#[test]
fn retry_after_may_be_a_date() {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(784_111_770);
    assert_eq!(requested("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
    assert_eq!(requested("Sat, 05 Nov 1994 08:49:37 GMT", now), Some(Duration::ZERO));
    assert_eq!(requested("the sixth of November", now), None);
}

#[test]
fn what_the_client_did_wrong_is_not_tried_again() {
    assert!([429, 500, 502, 503, 504].into_iter().all(is_transient));
    assert!(![200, 206, 304, 400, 401, 403, 404, 416, 501, 505].into_iter().any(is_transient));
}

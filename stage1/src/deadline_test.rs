use std::time::{Duration, Instant};

use super::deadline::Deadline;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn earliest_deadline_counts() {
    let now = Instant::now();
    let mut deadline = Deadline::default();
    deadline.within(now, 10 * SECOND, "late");
    deadline.within(now, SECOND, "early");
    deadline.within(now, 5 * SECOND, "middle");

    assert_eq!(deadline.at(), Some(now + SECOND));
    assert_eq!(deadline.passed(now), None);
    assert_eq!(deadline.passed(now + SECOND), Some("early"));
}

#[test]
fn deadline_that_was_not_set_never_passes() {
    let mut deadline = Deadline::default();
    deadline.put_off(Instant::now(), SECOND);

    assert_eq!(deadline.at(), None);
    assert_eq!(deadline.passed(Instant::now() + 1000 * SECOND), None);
}

#[test]
fn deadline_is_put_off_only_when_it_has_passed() {
    let now = Instant::now();
    let mut deadline = Deadline::default();
    deadline.within(now, SECOND, "why");

    deadline.put_off(now, 10 * SECOND);
    assert_eq!(deadline.at(), Some(now + SECOND));

    deadline.put_off(now + SECOND, 10 * SECOND);
    assert_eq!(deadline.passed(now + 2 * SECOND), None);
    assert_eq!(deadline.passed(now + 11 * SECOND), Some("why"));
}

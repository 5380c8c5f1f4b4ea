use std::time::{Duration, Instant};

use super::pace::Pace;

#[test]
fn so_many_are_allowed_at_once_and_so_many_a_second_after_that() {
    let start = Instant::now() + Duration::from_secs(3600);
    let mut pace = Pace::new(3, 10);

    let at = |pace: &mut Pace, milliseconds| {
        let now = start + Duration::from_millis(milliseconds);
        (0..100).take_while(|_| pace.allows(now)).count()
    };

    assert_eq!([0, 0, 99, 100, 350, 60_000].map(|time| at(&mut pace, time)), [3, 0, 0, 1, 2, 3]);
}

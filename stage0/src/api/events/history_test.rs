use super::history::{Forgotten, History, MAX_EVENTS};
use crate::api::wire::Event;

fn event(time: i64) -> Event {
    Event { time, ..Event::default() }
}

fn times(events: Vec<Event>) -> Vec<i64> {
    events.into_iter().map(|event| event.time).collect()
}

#[test]
fn a_listener_gets_what_came_behind_its_position() {
    let history = History::default();
    history.add([event(1), event(2)]);
    let position = history.end();
    history.add([event(3), event(4)]);

    assert_eq!(history.from(position, 10).map(times), Ok(vec![3, 4]));
    assert_eq!(history.from(history.start(), 3).map(times), Ok(vec![1, 2, 3]));
    assert_eq!(history.from(history.end(), 10).map(times), Ok(vec![]));
}

#[test]
fn a_listener_that_is_too_slow_learns_that_it_missed_something() {
    let history = History::default();
    let position = history.end();
    let count = i64::try_from(MAX_EVENTS).unwrap();
    history.add((0..=count).map(event));

    assert_eq!(history.from(position, 1), Err(Forgotten));
    assert_eq!(history.from(history.start(), 1).map(times), Ok(vec![1]));
    assert_eq!(history.from(history.end() - 1, 10).map(times), Ok(vec![count]));
}

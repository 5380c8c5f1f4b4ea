use crate::exit::{Exit, ExitLatch};

#[test]
fn first_outcome_wins() {
    let latch = ExitLatch::new().unwrap();

    latch.set(Ok(Exit::Reset));
    latch.set(Ok(Exit::TripleFault { vcpu: 1, registers: String::new() }));

    assert!(latch.is_set());
    assert_eq!(latch.take().unwrap().unwrap(), Exit::Reset);
}

#[test]
fn setting_the_latch_makes_its_event_readable() {
    let latch = ExitLatch::new().unwrap();
    assert!(latch.event().read().is_err());

    latch.set(Ok(Exit::Reset));

    assert_eq!(latch.event().read().unwrap(), 1);
}

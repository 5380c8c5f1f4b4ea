use guest_api::{AppId, ToHost};

use super::outgoing::Outgoing;

#[test]
fn what_is_kept_for_a_host_that_is_always_behind_does_not_grow() {
    let mut outgoing = Outgoing::default();
    let message = ToHost::Started { app: AppId(1), pid: 7 };
    outgoing.push(&message).unwrap();
    let one = outgoing.unsent();
    for _ in 0..9 {
        outgoing.push(&message).unwrap();
    }

    // There is never nothing to be written.
    for _ in 0..10_000 {
        outgoing.wrote(1.min(outgoing.front().unwrap().len()));
        outgoing.wrote((one - 1).min(outgoing.front().unwrap().len()));
        outgoing.push(&message).unwrap();
    }

    assert!(outgoing.unsent() <= 20 * one, "{}", outgoing.unsent());
    assert!(outgoing.kept() <= 40 * one, "{} bytes for {}", outgoing.kept(), outgoing.unsent());
}

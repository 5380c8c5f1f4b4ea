use super::peers::{Peer, Peers};

#[test]
fn a_pod_with_too_many_connections_gets_no_more_until_one_ends_and_others_notice_nothing() {
    let peers = Peers::default();
    let pod = Peer::Process(17);
    let mut places: Vec<_> = (0..64).map(|_| peers.enter(pod).unwrap()).collect();

    assert!(peers.enter(pod).is_none());
    assert!(peers.enter(Peer::Process(18)).is_some());

    places.pop();
    assert!(peers.enter(pod).is_some());
    drop(places);
    assert!((0..64).map(|_| peers.enter(pod)).all(|place| place.is_some()));
}

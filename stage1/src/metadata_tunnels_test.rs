use std::io::{Read, Write};
use std::net::Shutdown as Half;
use std::os::unix::net::{UnixListener, UnixStream};

use guest_api::{MAX_TUNNEL_BYTES, MAX_TUNNELS, ToGuest, ToHost, TunnelId};
use rustix::event::PollFlags;

use crate::guest::Violation;
use crate::metadata_tunnels::MetadataTunnels;

const ID: TunnelId = TunnelId(7);

struct Place {
    directory: tempfile::TempDir,
    listener: UnixListener,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("service")).unwrap();
        Self { directory, listener }
    }

    fn tunnels(&self) -> MetadataTunnels {
        MetadataTunnels::new(Some(&self.directory.path().join("service")))
    }

    /// With one tunnel, and the service's end of it.
    fn opened(&self) -> (MetadataTunnels, UnixStream) {
        let mut tunnels = self.tunnels();
        tunnels.receive(&ToHost::TunnelOpened(ID)).unwrap();
        (tunnels, self.listener.accept().unwrap().0)
    }
}

fn data(bytes: &[u8]) -> ToHost {
    ToHost::TunnelData { tunnel: ID, data: bytes.to_vec() }
}

#[test]
fn bytes_pass_both_ways() {
    let place = Place::new();
    let (mut tunnels, mut service) = place.opened();
    tunnels.receive(&data(b"question")).unwrap();
    assert_eq!(tunnels.relay(true), []);

    let mut heard = [0; 8];
    service.read_exact(&mut heard).unwrap();
    service.write_all(b"answer").unwrap();

    assert_eq!(&heard, b"question");
    assert_eq!(tunnels.relay(true), [ToGuest::TunnelData { tunnel: ID, data: b"answer".to_vec() }]);
}

#[test]
fn the_service_hears_the_end_and_can_still_answer() {
    let place = Place::new();
    let (mut tunnels, mut service) = place.opened();
    tunnels.receive(&data(b"question")).unwrap();
    tunnels.receive(&ToHost::TunnelEnd(ID)).unwrap();
    tunnels.relay(true);

    let mut heard = String::new();
    service.read_to_string(&mut heard).unwrap();
    service.write_all(b"answer").unwrap();
    drop(service);

    assert_eq!(heard, "question");
    assert_eq!(tunnels.relay(true), [ToGuest::TunnelData { tunnel: ID, data: b"answer".to_vec() }]);
    assert_eq!(tunnels.relay(true), [ToGuest::TunnelEnd(ID)]);
    assert!(tunnels.count() == 0);
    tunnels.receive(&ToHost::TunnelCredit { tunnel: ID, bytes: 6 }).unwrap();
    tunnels.receive(&ToHost::TunnelOpened(ID)).unwrap();
}

#[test]
fn a_service_that_is_not_there_ends_the_tunnel_only() {
    let place = Place::new();
    let mut tunnels = MetadataTunnels::new(Some(&place.directory.path().join("nobody")));

    tunnels.receive(&ToHost::TunnelOpened(ID)).unwrap();

    assert_eq!(tunnels.relay(true), [ToGuest::TunnelEnd(ID)]);
    tunnels.receive(&data(b"sent before that was heard")).unwrap();
    tunnels.receive(&ToHost::TunnelEnd(ID)).unwrap();
    assert_eq!(tunnels.relay(true), []);
    assert!(tunnels.count() == 0);
}

#[test]
fn a_service_that_does_not_read_stops_the_guest_and_one_that_talks_waits_for_it() {
    let place = Place::new();
    let (mut tunnels, mut service) = place.opened();
    let mut granted = 64 * 1024;
    loop {
        let message = data(&[1; MAX_TUNNEL_BYTES]);
        if granted < MAX_TUNNEL_BYTES {
            assert!(matches!(tunnels.receive(&message), Err(Violation::Tunnel { tunnel: 7, .. })));
            break;
        }
        tunnels.receive(&message).unwrap();
        granted -= MAX_TUNNEL_BYTES;
        for message in tunnels.relay(false) {
            if let ToGuest::TunnelCredit { bytes, .. } = message {
                granted += usize::try_from(bytes).unwrap();
            }
        }
    }
    service.set_nonblocking(true).unwrap();
    while service.write(&[2; 4096]).is_ok() {}

    let mut sent = 0;
    while let [ToGuest::TunnelData { data, .. }] = tunnels.relay(true).as_slice() {
        sent += data.len();
    }
    assert_eq!(sent, 64 * 1024);
    assert!(tunnels.interests(true).iter().all(|(_, flags)| !flags.contains(PollFlags::IN)));
}

#[test]
fn a_service_that_closes_its_ear_only_is_still_heard() {
    let place = Place::new();
    let (mut tunnels, mut service) = place.opened();
    service.shutdown(Half::Read).unwrap();
    service.write_all(b"too large").unwrap();
    tunnels.receive(&data(&[1; 100])).unwrap();

    let messages = tunnels.relay(true);

    assert_eq!(messages, [ToGuest::TunnelData { tunnel: ID, data: b"too large".to_vec() }]);
}

#[test]
fn what_a_guest_must_not_do_is_a_violation() {
    let place = Place::new();
    let (mut tunnels, _service) = place.opened();
    let unknown = TunnelId(8);

    let again = tunnels.receive(&ToHost::TunnelOpened(ID));
    let stray = tunnels.receive(&ToHost::TunnelData { tunnel: unknown, data: vec![] });
    let end = tunnels.receive(&ToHost::TunnelEnd(unknown));
    let credit = tunnels.receive(&ToHost::TunnelCredit { tunnel: ID, bytes: 1 });
    let unasked = MetadataTunnels::new(None).receive(&ToHost::TunnelOpened(ID));

    assert_eq!(again, Err(Violation::TunnelNotAllowed(7)));
    assert_eq!(stray, Err(Violation::UnknownTunnel(8)));
    assert_eq!(end, Err(Violation::UnknownTunnel(8)));
    assert!(matches!(credit, Err(Violation::Tunnel { tunnel: 7, .. })));
    assert_eq!(unasked, Err(Violation::TunnelNotAllowed(7)));
}

#[test]
fn a_guest_has_no_more_tunnels_than_allowed() {
    let place = Place::new();
    let mut tunnels = place.tunnels();
    let limit = u16::try_from(MAX_TUNNELS).unwrap();
    for number in 0..limit {
        tunnels.receive(&ToHost::TunnelOpened(TunnelId(number))).unwrap();
    }

    assert_eq!(tunnels.receive(&ToHost::TunnelOpened(TunnelId(limit))), Err(Violation::TunnelNotAllowed(32)));
}

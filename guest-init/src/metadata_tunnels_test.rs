use std::io::{Read as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::thread::yield_now;

use guest_api::{MAX_TUNNEL_BYTES, MAX_TUNNELS, ToGuest, ToHost, TunnelId};

use crate::InitError;
use crate::metadata_tunnels::MetadataTunnels;

const FIRST: TunnelId = TunnelId(0);

fn listening() -> (MetadataTunnels, SocketAddrV4) {
    let tunnels = MetadataTunnels::listen_at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = tunnels.address();
    (tunnels, address)
}

/// With one connection, and the app's end of it.
fn connected() -> (MetadataTunnels, TcpStream) {
    let (mut tunnels, address) = listening();
    let app = TcpStream::connect(address).unwrap();
    assert_eq!(wait(&mut tunnels), [ToHost::TunnelOpened(FIRST)]);
    (tunnels, app)
}

/// The next messages.
fn wait(tunnels: &mut MetadataTunnels) -> Vec<ToHost> {
    loop {
        let messages = tunnels.relay(true);
        if !messages.is_empty() {
            return messages;
        }
        yield_now();
    }
}

fn from_service(bytes: &[u8]) -> ToGuest {
    ToGuest::TunnelData { tunnel: FIRST, data: bytes.to_vec() }
}

#[test]
fn a_connection_is_a_tunnel_from_its_first_byte_to_its_last() {
    let (mut tunnels, mut app) = connected();
    app.write_all(b"question").unwrap();
    assert_eq!(wait(&mut tunnels), [ToHost::TunnelData { tunnel: FIRST, data: b"question".to_vec() }]);

    tunnels.receive(&from_service(b"answer")).unwrap();
    tunnels.receive(&ToGuest::TunnelEnd(FIRST)).unwrap();

    assert_eq!(wait(&mut tunnels), [ToHost::TunnelEnd(FIRST)]);
    let mut heard = String::new();
    app.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    assert!(tunnels.count() == 0);
}

#[test]
fn an_app_that_has_said_everything_still_hears_the_answer() {
    let (mut tunnels, mut app) = connected();
    app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wait(&mut tunnels), [ToHost::TunnelEnd(FIRST)]);

    tunnels.receive(&from_service(b"answer")).unwrap();
    tunnels.receive(&ToGuest::TunnelEnd(FIRST)).unwrap();
    assert_eq!(tunnels.relay(true), []);

    let mut heard = String::new();
    app.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    assert!(tunnels.count() == 0);
}

#[test]
fn a_service_that_is_not_there_closes_the_connection() {
    let (mut tunnels, mut app) = connected();

    tunnels.receive(&ToGuest::TunnelEnd(FIRST)).unwrap();
    tunnels.relay(true);

    assert_eq!(app.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_app_that_is_gone_keeps_the_service_from_nothing() {
    let (mut tunnels, app) = connected();
    drop(app);
    assert_eq!(wait(&mut tunnels), [ToHost::TunnelEnd(FIRST)]);
    let mut sent = 0;
    let mut granted = 64 * 1024;
    // Ten times its credit.
    while sent < 640 * 1024 {
        if granted >= MAX_TUNNEL_BYTES {
            tunnels.receive(&from_service(&[1; MAX_TUNNEL_BYTES])).unwrap();
            sent += MAX_TUNNEL_BYTES;
            granted -= MAX_TUNNEL_BYTES;
        }
        for message in tunnels.relay(true) {
            let ToHost::TunnelCredit { bytes, .. } = message else { panic!("{message:?}") };
            granted += usize::try_from(bytes).unwrap();
        }
    }

    tunnels.receive(&ToGuest::TunnelEnd(FIRST)).unwrap();
    tunnels.relay(true);

    assert!(tunnels.count() == 0);
}

#[test]
fn a_service_that_does_not_read_stops_the_app() {
    let (mut tunnels, mut app) = connected();
    app.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < 64 * 1024 {
        let _ = app.write(&[1; 4096]);
        for message in tunnels.relay(true) {
            let ToHost::TunnelData { data, .. } = message else { panic!("{message:?}") };
            sent += data.len();
        }
    }
    let _ = app.write(&[1; 4096]);

    assert_eq!(tunnels.relay(true), []);
    assert_eq!(sent, 64 * 1024);
    assert_eq!(tunnels.interests(true).len(), 1, "only the listener");
    tunnels.receive(&ToGuest::TunnelCredit { tunnel: FIRST, bytes: 10 }).unwrap();
    assert!(matches!(&wait(&mut tunnels)[..], [ToHost::TunnelData { data, .. }] if data.len() == 10));
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() {
    let (mut tunnels, address) = listening();
    let apps: Vec<TcpStream> = (0..=MAX_TUNNELS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut opened = 0;
    while opened < MAX_TUNNELS {
        opened += tunnels.relay(true).len();
    }
    assert_eq!(tunnels.relay(true), []);

    tunnels.receive(&ToGuest::TunnelEnd(TunnelId(3))).unwrap();
    assert_eq!(tunnels.relay(true), [ToHost::TunnelEnd(TunnelId(3))]);

    assert_eq!(wait(&mut tunnels), [ToHost::TunnelOpened(TunnelId(32))]);
    drop(apps);
}

#[test]
fn a_host_that_loses_count_is_found_out() {
    let (mut tunnels, _app) = connected();

    let stray = tunnels.receive(&ToGuest::TunnelEnd(TunnelId(1)));
    let credit = tunnels.receive(&ToGuest::TunnelCredit { tunnel: FIRST, bytes: 1 });

    assert!(matches!(stray, Err(InitError::UnknownTunnel(1))));
    assert!(matches!(credit, Err(InitError::Tunnel { tunnel: 0, .. })));
}

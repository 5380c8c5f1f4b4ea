use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use guest_api::{Destination, MAX_METADATA_TUNNELS, MAX_TUNNEL_BYTES, TunnelFault, TunnelId, TunnelMessage};

use crate::{Side, Target, TunnelError, Tunnels};

const SOCKET: Destination = Destination::Socket(4);

/// Both sides of a pod, with a listener in front of a server on the other side.
struct Pair {
    host: Tunnels,
    guest: Tunnels,
    entrance: SocketAddr,
    server: TcpListener,
}

impl Pair {
    /// To an app's socket.
    fn to_app() -> Self {
        let (entrance, server) = (listener(), listener());
        let mut host = Tunnels::new(Side::Host);
        let mut guest = Tunnels::new(Side::Guest);
        let address = entrance.local_addr().unwrap();
        host.listen(SOCKET, entrance.into()).unwrap();
        guest.serve(SOCKET, Target::Inet(server.local_addr().unwrap()));
        Self { host, guest, entrance: address, server }
    }

    /// To the metadata service.
    fn to_service() -> Self {
        let (entrance, server) = (listener(), listener());
        let mut host = Tunnels::new(Side::Host);
        let mut guest = Tunnels::new(Side::Guest);
        let address = entrance.local_addr().unwrap();
        guest.listen(Destination::MetadataService, entrance.into()).unwrap();
        host.serve(Destination::MetadataService, Target::Inet(server.local_addr().unwrap()));
        Self { host, guest, entrance: address, server }
    }

    /// Carries messages until neither side has more to say or to wait for.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 20 {
            let (to_guest, to_host) = (self.host.relay(true), self.guest.relay(true));
            quiet = if to_guest.is_empty() && to_host.is_empty() { quiet + 1 } else { 0 };
            to_guest.iter().for_each(|message| self.guest.receive(message).unwrap());
            to_host.iter().for_each(|message| self.host.receive(message).unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// A connection and the server's end of it.
    fn connect(&mut self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.entrance).unwrap();
        self.settle();
        (client, self.server.accept().unwrap().0)
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn hear(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn opened(tunnel: TunnelId, destination: Destination) -> TunnelMessage {
    TunnelMessage::Opened { tunnel, destination }
}

/// A guest's message about its tunnel 7, and a host that knows it.
fn host_with_tunnel_7() -> (Tunnels, TcpListener) {
    let server = listener();
    let mut host = Tunnels::new(Side::Host);
    host.serve(Destination::MetadataService, Target::Inet(server.local_addr().unwrap()));
    host.receive(&opened(TunnelId(7), Destination::MetadataService)).unwrap();
    (host, server)
}

#[test]
fn a_connection_reaches_the_other_side_and_is_answered() {
    let mut pair = Pair::to_app();
    let (mut client, mut app) = pair.connect();

    client.write_all(b"question").unwrap();
    pair.settle();
    assert_eq!(hear(&mut app, 8), "question");
    app.write_all(b"answer").unwrap();
    pair.settle();

    assert_eq!(hear(&mut client, 6), "answer");
}

#[test]
fn either_end_of_a_connection_to_an_app_may_say_its_last_word_first() {
    let mut pair = Pair::to_app();
    let (mut client, mut app) = pair.connect();

    app.shutdown(Shutdown::Write).unwrap();
    pair.settle();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    client.write_all(b"still here").unwrap();
    pair.settle();
    assert_eq!(hear(&mut app, 10), "still here");
    drop(client);
    pair.settle();
    app.read_to_string(&mut heard).unwrap();

    assert_eq!(heard, "");
    assert_eq!((pair.host.count(SOCKET), pair.guest.count(SOCKET)), (0, 0));
}

#[test]
fn a_service_that_has_answered_ends_the_connection() {
    let mut pair = Pair::to_service();
    let (mut client, mut service) = pair.connect();
    client.write_all(b"question").unwrap();
    pair.settle();
    assert_eq!(hear(&mut service, 8), "question");

    service.write_all(b"answer").unwrap();
    drop(service);
    pair.settle();

    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    assert_eq!(pair.host.count(Destination::MetadataService), 0);
    assert_eq!(pair.guest.count(Destination::MetadataService), 0);
}

#[test]
fn a_client_that_has_said_everything_still_hears_the_answer() {
    let mut pair = Pair::to_service();
    let (mut client, mut service) = pair.connect();
    client.shutdown(Shutdown::Write).unwrap();
    pair.settle();
    let mut heard = String::new();
    service.read_to_string(&mut heard).unwrap();

    service.write_all(b"answer").unwrap();
    drop(service);
    pair.settle();

    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
}

#[test]
fn a_server_that_is_not_there_closes_the_connection_only() {
    let mut pair = Pair::to_app();
    let gone = std::mem::replace(&mut pair.server, listener());
    drop(gone);
    let mut client = TcpStream::connect(pair.entrance).unwrap();

    pair.settle();

    let mut heard = String::new();
    // The kernel tells the one or the other, depending on what was sent.
    assert!(client.read_to_string(&mut heard).is_err() || heard.is_empty());
    drop(client);
    pair.settle();
    assert_eq!((pair.host.count(SOCKET), pair.guest.count(SOCKET)), (0, 0));
}

#[test]
fn a_unix_socket_is_served_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service");
    let service = UnixListener::bind(&path).unwrap();
    let mut host = Tunnels::new(Side::Host);
    host.serve(Destination::MetadataService, Target::Unix(path));

    host.receive(&opened(TunnelId(7), Destination::MetadataService)).unwrap();
    host.receive(&TunnelMessage::Data { tunnel: TunnelId(7), data: b"hello".to_vec() }).unwrap();
    host.relay(true);

    let mut heard = [0; 5];
    service.accept().unwrap().0.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer_and_costs_its_credit_only() {
    let mut pair = Pair::to_app();
    let (mut client, app) = pair.connect();
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        match client.write(&[1; 4096]) {
            Ok(count) => sent += count,
            Err(_) => {
                let before = sent;
                pair.settle();
                sent += client.write(&[1; 4096]).unwrap_or(0);
                if sent == before {
                    break;
                }
            }
        }
    }

    let mut app = app;
    app.set_nonblocking(false).unwrap();
    let mut heard = 0;
    let mut buffer = vec![0; 1 << 16];
    while heard < sent {
        app.set_nonblocking(true).unwrap();
        match app.read(&mut buffer) {
            Ok(count) => heard += count,
            Err(_) => pair.settle(),
        }
    }
    assert_eq!(heard, sent);
}

#[test]
fn connections_beyond_the_limit_wait_for_others_to_end() {
    let mut pair = Pair::to_service();
    let mut clients: Vec<_> =
        (0..=MAX_METADATA_TUNNELS).map(|_| TcpStream::connect(pair.entrance).unwrap()).collect();

    pair.settle();
    assert_eq!(pair.guest.count(Destination::MetadataService), MAX_METADATA_TUNNELS);
    let servers: Vec<_> = (0..MAX_METADATA_TUNNELS).map(|_| pair.server.accept().unwrap()).collect();
    drop(servers);
    pair.settle();

    clients.pop().unwrap().write_all(b"my turn").unwrap();
    pair.settle();
    assert_eq!(hear(&mut pair.server.accept().unwrap().0, 7), "my turn");
}

#[test]
fn nobody_is_accepted_any_more_once_the_listeners_are_gone() {
    let mut pair = Pair::to_app();
    let kept = listener();
    pair.host.listen(Destination::Socket(5), kept.try_clone().unwrap().into()).unwrap();
    pair.host.stop_listening();
    let _client = TcpStream::connect(kept.local_addr().unwrap()).unwrap();

    pair.settle();

    assert_eq!(pair.host.count(SOCKET), 0);
    kept.set_nonblocking(true).unwrap();
    assert!(kept.accept().is_ok(), "the connection waits for the next one to listen");
}

#[test]
fn what_the_other_side_must_not_do_is_an_error() {
    let (mut host, _server) = host_with_tunnel_7();
    let service = Destination::MetadataService;
    let data = |tunnel, count| TunnelMessage::Data { tunnel, data: vec![0; count] };

    assert_eq!(host.receive(&opened(TunnelId(7), service)), Err(TunnelError::NotAllowed(7)));
    assert_eq!(host.receive(&opened(TunnelId(8), SOCKET)), Err(TunnelError::NotAllowed(8)));
    let ours = TunnelId::numbered(1, true);
    assert_eq!(host.receive(&opened(ours, service)), Err(TunnelError::NotAllowed(ours.0)));
    assert_eq!(host.receive(&data(TunnelId(9), 0)), Err(TunnelError::Unknown(9)));
    assert_eq!(host.receive(&TunnelMessage::End(TunnelId(9))), Err(TunnelError::Unknown(9)));
    let large = host.receive(&data(TunnelId(7), MAX_TUNNEL_BYTES + 1));
    assert_eq!(large, Err(TunnelError::Fault { tunnel: 7, fault: TunnelFault::BeyondCredit }));
    let credit = host.receive(&TunnelMessage::Credit { tunnel: TunnelId(7), bytes: 1 });
    assert_eq!(credit, Err(TunnelError::Fault { tunnel: 7, fault: TunnelFault::BeyondSent }));
    assert_eq!(host.receive(&TunnelMessage::End(TunnelId(7))), Ok(()));
    let twice = host.receive(&TunnelMessage::End(TunnelId(7)));
    assert_eq!(twice, Err(TunnelError::Fault { tunnel: 7, fault: TunnelFault::AfterEnd }));
}

#[test]
fn more_tunnels_than_allowed_are_an_error() {
    let (mut host, _server) = host_with_tunnel_7();
    let limit = u16::try_from(MAX_METADATA_TUNNELS).unwrap();
    let others = (100..).map(TunnelId).take(MAX_METADATA_TUNNELS - 1);
    others.for_each(|id| host.receive(&opened(id, Destination::MetadataService)).unwrap());

    let more = host.receive(&opened(TunnelId(limit), Destination::MetadataService));

    assert_eq!(more, Err(TunnelError::NotAllowed(limit)));
}

#[test]
fn a_guest_that_opens_tunnels_without_pause_waits_for_its_connections() {
    let (mut host, server) = host_with_tunnel_7();
    server.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let mut made = 1;
    let finish = |host: &mut Tunnels| {
        host.receive(&TunnelMessage::End(TunnelId(7))).unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while host.count(Destination::MetadataService) > 0 && host.deadline().is_none() {
            // The service has nothing to say.
            drop(server.accept());
            host.relay(true);
            assert!(Instant::now() < until, "the tunnel does not end");
        }
    };
    finish(&mut host);

    while host.deadline().is_none() {
        host.receive(&opened(TunnelId(7), Destination::MetadataService)).unwrap();
        made += 1;
        finish(&mut host);
        assert!(made < 10_000, "nothing holds it up");
    }

    // The last one waits. However slow this machine is, no more than its pace was kept.
    assert!(made > 128 && made <= 130 + 64 * (began.elapsed().as_secs() + 1), "{made}");
    let until = Instant::now() + Duration::from_secs(30);
    while host.count(Destination::MetadataService) > 0 {
        drop(server.accept());
        host.relay(true);
        assert!(Instant::now() < until, "the last one is never connected");
    }
    assert_eq!(host.deadline(), None);
}

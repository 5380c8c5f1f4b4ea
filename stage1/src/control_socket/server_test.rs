use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use guest_api::{AppExit, FrameBuffer, StdioStream, encode};
use tempfile::TempDir;

use super::protocol::{Reply, Request};
use super::server::{ClientId, Event, Server};

struct Fixture {
    directory: TempDir,
    server: Server,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::listen(&directory.path().join("control.sock")).unwrap();
        Self { directory, server }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn serve(&mut self) -> Vec<Event> {
        self.server.serve(true, Instant::now())
    }
}

fn say(client: &mut UnixStream, request: &Request) {
    client.write_all(&encode(request).unwrap()).unwrap();
}

fn hear(client: &mut UnixStream) -> Vec<Reply> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let mut frames = FrameBuffer::new();
    frames.push(&bytes);
    std::iter::from_fn(|| frames.next_message().unwrap()).collect()
}

#[test]
fn socket_is_its_owners_alone_and_replaces_what_a_killed_pod_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(Server::listen(&path).unwrap());

    let _server = Server::listen(&path).unwrap();

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn requests_come_with_the_client_that_made_them_and_replies_reach_it() {
    let mut fixture = Fixture::new();
    let (mut first, mut second) = (fixture.connect(), fixture.connect());
    say(&mut first, &Request::Stop { force: false });
    say(&mut second, &Request::InputClosed);

    let events = fixture.serve();

    let request = |number, request| Event::Request(ClientId(number), request);
    assert_eq!(events, [request(0, Request::Stop { force: false }), request(1, Request::InputClosed)]);
    fixture.server.reply(ClientId(1), Reply::Exited(AppExit::Code(3)));
    assert_eq!(fixture.server.flush(), [Event::Gone(ClientId(1))]);
    assert_eq!(hear(&mut second), [Reply::Exited(AppExit::Code(3))]);
}

#[test]
fn client_that_talks_nonsense_or_leaves_is_gone_and_the_others_stay() {
    let mut fixture = Fixture::new();
    let mut nonsense = fixture.connect();
    let mut good = fixture.connect();
    let leaving = fixture.connect();
    nonsense.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    say(&mut good, &Request::Stop { force: false });
    drop(leaving);

    let events = fixture.serve();

    assert_eq!(
        events,
        [
            Event::Request(ClientId(1), Request::Stop { force: false }),
            Event::Gone(ClientId(0)),
            Event::Gone(ClientId(2))
        ]
    );
    assert_eq!(hear(&mut nonsense), []);
}

#[test]
fn client_that_says_nothing_is_let_go_after_a_while() {
    let mut fixture = Fixture::new();
    let _silent = fixture.connect();
    let mut busy = fixture.connect();
    say(&mut busy, &Request::Stop { force: false });
    fixture.serve();
    let deadline = fixture.server.deadline().unwrap();

    let events = fixture.server.serve(true, deadline);

    assert_eq!(events, [Event::Gone(ClientId(0))]);
    assert_eq!(fixture.server.deadline(), None);
}

#[test]
fn client_that_does_not_read_holds_nobody_up_and_gets_everything_later() {
    let mut fixture = Fixture::new();
    let (mut slow, mut quick) = (fixture.connect(), fixture.connect());
    say(&mut slow, &Request::InputClosed);
    say(&mut quick, &Request::InputClosed);
    fixture.serve();
    let mut pushed = 0;
    // Far more than a socket's buffer takes, within the credit of a stream.
    for stream in [StdioStream::Stdout, StdioStream::Stderr] {
        for _ in 0..4 {
            let data = vec![b'x'; 60_000];
            pushed += data.len();
            assert_eq!(fixture.server.reply(ClientId(0), Reply::Output { stream, data }), None);
            assert_eq!(fixture.server.flush(), []);
        }
    }
    fixture.server.reply(ClientId(0), Reply::PodEnded);
    fixture.server.reply(ClientId(1), Reply::PodEnded);

    assert_eq!(fixture.server.flush(), [Event::Gone(ClientId(1))]);
    assert_eq!(hear(&mut quick), [Reply::PodEnded]);
    assert!(fixture.server.owes_last_words());
    let reader = std::thread::spawn(move || hear(&mut slow));
    while fixture.server.flush().is_empty() {
        std::thread::yield_now();
    }
    let heard = reader.join().unwrap();
    let bytes = |reply: &Reply| match reply {
        Reply::Output { data, .. } => data.len(),
        _ => 0,
    };
    assert_eq!(heard.iter().map(bytes).sum::<usize>(), pushed);
    assert_eq!(heard.last(), Some(&Reply::PodEnded));
}

#[test]
fn number_of_clients_is_limited_and_the_next_one_waits_for_a_place() {
    let mut fixture = Fixture::new();
    let mut clients: Vec<UnixStream> = (0..100).map(|_| fixture.connect()).collect();
    fixture.serve();
    let admitted = fixture.server.interests(true).len();
    assert!(admitted < 100, "{admitted}");
    let last = clients.last_mut().unwrap();
    say(last, &Request::Stop { force: true });
    assert_eq!(fixture.serve(), []);

    // The first ones leave.
    clients.drain(..50);
    fixture.serve();

    assert_eq!(fixture.serve(), [Event::Request(ClientId(99), Request::Stop { force: true })]);
}

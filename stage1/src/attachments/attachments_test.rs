use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use guest_api::{AppId, INITIAL_CREDIT_BYTES, INITIAL_INPUT_CREDIT_BYTES, Process, StdioStream, ToGuest};

use super::directory::{Directory, Endpoints};
use super::{Attachments, PATIENCE};
use crate::output::Written;
use crate::streams::{Mode, Streams};

const APP: AppId = AppId(3);
const OUT: StdioStream = StdioStream::Stdout;
const STREAM: Streams = Streams { stdin: Mode::Stream, stdout: Mode::Stream, stderr: Mode::Null };
const TTY: Streams = Streams { stdin: Mode::Tty, stdout: Mode::Tty, stderr: Mode::Tty };

struct Fixture {
    directory: tempfile::TempDir,
    attachments: Attachments,
}

impl Fixture {
    fn new(streams: Streams) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut attachments = Attachments::new(directory.path().to_owned(), PATIENCE);
        attachments.started(APP, "app", &streams).unwrap();
        Self { directory, attachments }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join("app").join(format!("sock-{name}"))
    }

    /// A client that has been let in.
    fn client(&mut self, name: &str) -> UnixStream {
        let client = UnixStream::connect(self.socket(name)).unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(self.hear(), []);
        client
    }

    fn hear(&mut self) -> Vec<ToGuest> {
        self.attachments.hear(true, Instant::now())
    }

    fn push(&mut self, data: &[u8]) {
        self.attachments.push(APP, OUT, data);
        let own = Written { app: APP, stream: OUT, bytes: u32::try_from(data.len()).unwrap() };
        let taken = self.attachments.own_output_took(own);
        assert!(taken.is_none_or(|taken| taken.bytes <= own.bytes));
    }

    fn flush(&mut self) -> u32 {
        let outcome = self.attachments.flush(Instant::now());
        assert!(outcome.warnings.is_empty());
        outcome.taken.iter().map(|taken| taken.bytes).sum()
    }
}

fn input(data: &[u8]) -> ToGuest {
    ToGuest::Input { process: Process::App(APP), data: data.to_vec() }
}

fn closed() -> ToGuest {
    ToGuest::InputClosed(Process::App(APP))
}

fn read(client: &mut UnixStream) -> Option<Vec<u8>> {
    let mut data = vec![0; 1 << 20];
    match client.read(&mut data) {
        Ok(count) => {
            data.truncate(count);
            Some(data)
        }
        Err(_) => None,
    }
}

#[test]
fn endpoints_are_published_as_rkt_writes_them_and_the_sockets_are_the_owners() {
    let fixture = Fixture::new(STREAM);

    let text = std::fs::read_to_string(fixture.directory.path().join("app/endpoints")).unwrap();

    let target = |name: &str| {
        format!(r#"{{"name":"{name}","domain":"unix","address":"/rkt/iottymux/app/sock-{name}"}}"#)
    };
    let expected = format!("{{\"version\":1,\"targets\":[{},{}]}}\n", target("stdin"), target("stdout"));
    assert_eq!(text, expected);
    let directory = Directory::open(fixture.directory.path(), "app").unwrap();
    assert_eq!(directory.endpoints().unwrap(), Endpoints::new("app", &["stdin", "stdout"]));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fixture.socket("stdin")), 0o600);
    assert!(!fixture.socket("stderr").exists());
}

#[test]
fn an_app_without_attachable_streams_leaves_nothing() {
    let fixture = Fixture::new(Streams::LOG);

    assert!(!fixture.directory.path().join("app").exists());
}

#[test]
fn an_app_of_the_longest_name_can_be_attached_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut attachments = Attachments::new(directory.path().to_owned(), PATIENCE);
    let name = "a".repeat(200);
    attachments.started(APP, &name, &STREAM).unwrap();

    let connected = Directory::open(directory.path(), &name).unwrap().connect("stdout");

    assert!(connected.is_ok());
}

#[test]
fn every_client_gets_all_of_it_and_the_slowest_sets_the_pace() {
    let mut fixture = Fixture::new(STREAM);
    let (mut one, mut two) = (fixture.client("stdout"), fixture.client("stdout"));
    let piece = vec![b'x'; INITIAL_CREDIT_BYTES as usize];
    let mut granted = INITIAL_CREDIT_BYTES;
    let mut sent = 0_u64;

    // `two` reads nothing: the guest's credit runs dry.
    for _ in 0..10 {
        let bytes = granted.min(INITIAL_CREDIT_BYTES);
        fixture.push(&piece[..bytes as usize]);
        sent += u64::from(bytes);
        granted -= bytes;
        granted += fixture.flush();
        while read(&mut one).is_some_and(|data| !data.is_empty()) {
            granted += fixture.flush();
        }
    }
    let held_up = sent;

    assert_eq!(granted, 0);
    assert!(held_up < 2 * u64::from(INITIAL_CREDIT_BYTES), "{held_up} bytes for a client that reads nothing");
    let mut received = 0;
    while let Some(data) = read(&mut two) {
        received += data.len() as u64;
        granted += fixture.flush();
    }
    assert_eq!(received, held_up);
    assert_eq!(granted, INITIAL_CREDIT_BYTES);
}

#[test]
fn a_client_that_dies_is_forgotten_at_once() {
    let mut fixture = Fixture::new(STREAM);
    let client = fixture.client("stdout");
    let piece = vec![b'x'; INITIAL_CREDIT_BYTES as usize];
    fixture.push(&piece);
    let before = fixture.flush();
    assert!(before < INITIAL_CREDIT_BYTES);

    drop(client);
    fixture.hear();

    assert_eq!(before + fixture.flush(), INITIAL_CREDIT_BYTES);
    assert!(!fixture.attachments.is_waiting());
}

#[test]
fn a_client_that_takes_nothing_is_dropped_when_patience_ends() {
    let mut fixture = Fixture::new(STREAM);
    let _client = fixture.client("stdout");
    fixture.push(&vec![b'x'; INITIAL_CREDIT_BYTES as usize]);
    fixture.flush();
    let deadline = fixture.attachments.deadline().unwrap();
    assert!(deadline <= Instant::now() + PATIENCE);

    let outcome = fixture.attachments.flush(deadline);

    assert_eq!(outcome.warnings.len(), 1);
    assert!(outcome.warnings[0].contains("attached to app \"app\""), "{:?}", outcome.warnings);
    assert_eq!(fixture.attachments.deadline(), None);
}

#[test]
fn the_end_of_an_output_is_the_end_of_its_clients_after_the_last_byte() {
    let mut fixture = Fixture::new(STREAM);
    let mut client = fixture.client("stdout");
    fixture.push(b"last words");
    fixture.attachments.close(APP, OUT);

    fixture.flush();

    assert_eq!(read(&mut client).as_deref(), Some(&b"last words"[..]));
    assert_eq!(read(&mut client).as_deref(), Some(&b""[..]));
}

#[test]
fn input_of_several_clients_is_merged_and_the_last_ones_end_is_the_apps() {
    let mut fixture = Fixture::new(STREAM);
    let (mut one, mut two) = (fixture.client("stdin"), fixture.client("stdin"));

    one.write_all(b"one").unwrap();
    assert_eq!(fixture.hear(), [input(b"one")]);
    one.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fixture.hear(), []);
    two.write_all(b"two").unwrap();
    assert_eq!(fixture.hear(), [input(b"two")]);
    two.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fixture.hear(), [closed()]);
    fixture.flush();
    assert_eq!(read(&mut two).as_deref(), Some(&b""[..]));
    let mut late = fixture.client("stdin");
    fixture.flush();
    assert_eq!(read(&mut late).as_deref(), Some(&b""[..]));
}

#[test]
fn a_client_that_detaches_leaves_the_input_open() {
    let mut fixture = Fixture::new(STREAM);
    let mut client = fixture.client("stdin");
    client.write_all(b"bye").unwrap();
    drop(client);

    assert_eq!(fixture.hear(), [input(b"bye")]);

    let mut next = fixture.client("stdin");
    next.write_all(b"hi").unwrap();
    assert_eq!(fixture.hear(), [input(b"hi")]);
}

#[test]
fn nobody_is_heard_beyond_what_the_app_takes() {
    let mut fixture = Fixture::new(STREAM);
    let mut client = fixture.client("stdin");
    let mut heard = 0;
    let data = vec![b'x'; 64 * 1024];

    for _ in 0..20 {
        while client.write(&data).is_ok() {}
        for message in fixture.hear() {
            let ToGuest::Input { data, .. } = message else { panic!("{message:?}") };
            heard += u32::try_from(data.len()).unwrap();
        }
    }

    assert_eq!(heard, INITIAL_INPUT_CREDIT_BYTES);
    assert!(fixture.attachments.grant(APP, 10).is_ok());
    assert!(matches!(&fixture.hear()[..], [ToGuest::Input { data, .. }] if data.len() == 10));
    assert!(fixture.attachments.grant(APP, INITIAL_INPUT_CREDIT_BYTES + 1).is_err());
}

#[test]
fn a_terminal_has_one_socket_for_both_directions_and_its_input_does_not_end() {
    let mut fixture = Fixture::new(TTY);
    let mut client = fixture.client("tty");
    client.write_all(b"ls\n").unwrap();

    assert_eq!(fixture.hear(), [input(b"ls\n")]);

    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fixture.hear(), []);
    fixture.push(b"file\r\n");
    fixture.flush();
    assert_eq!(read(&mut client).as_deref(), Some(&b"file\r\n"[..]));
}

#[test]
fn garbage_sent_to_an_output_goes_nowhere() {
    let mut fixture = Fixture::new(STREAM);
    let mut client = fixture.client("stdout");
    client.write_all(&[0xff; 1000]).unwrap();

    assert_eq!(fixture.hear(), []);

    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(fixture.hear(), []);
    fixture.push(b"still here");
    fixture.flush();
    assert_eq!(read(&mut client).as_deref(), Some(&b"still here"[..]));
}

#[test]
fn nobody_is_let_in_after_the_apps_end() {
    let mut fixture = Fixture::new(STREAM);
    let mut client = fixture.client("stdin");

    fixture.attachments.ended(APP);
    fixture.flush();

    assert!(!fixture.socket("stdin").exists());
    assert_eq!(read(&mut client).as_deref(), Some(&b""[..]));
}

#[test]
fn a_client_gets_all_that_an_app_said_which_is_started_again() {
    let mut fixture = Fixture::new(STREAM);
    let mut slow = fixture.client("stdout");
    let said = vec![b'x'; INITIAL_CREDIT_BYTES as usize];
    fixture.push(&said);
    fixture.flush();

    fixture.attachments.ended(APP);
    fixture.attachments.close(APP, OUT);
    fixture.attachments.forget(APP);
    fixture.attachments.started(APP, "app", &STREAM).unwrap();
    let mut next = fixture.client("stdout");
    fixture.push(b"again");

    let mut received = Vec::new();
    let ended = loop {
        match read(&mut slow) {
            Some(data) if data.is_empty() => break true,
            Some(data) => received.extend(data),
            None => break false,
        }
        fixture.flush();
    };
    fixture.flush();
    assert!(ended);
    assert_eq!(received.len(), said.len());
    assert_eq!(read(&mut next).as_deref(), Some(&b"again"[..]));
}

//! What comes out of a guest besides messages, and what its apps say to PID 1.
//!
//! Responsible for: tunnels with a program at their end, logs from the writer to the reader, files of an app. Must not know: the control
//! connection.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use guest_api::{Destination, FrameBuffer, TunnelMessage, encode};
use guest_init::app::lookup::{self, Program};
use guest_init::app::notify::Said;
use guest_init::app::users;
use rustix::fs::{Mode, OFlags};
use tunnels::{Side, Target, Tunnels};

/// Of a log; four of its longest records.
const MAX_WRITTEN_BYTES: usize = 64 * 1024;
/// Longest status that the host is told of.
const MAX_STATUS_BYTES: usize = guest_api::MAX_STATUS_BYTES;

/// A program that takes connections and is to be found nowhere in the file system.
struct Server {
    listener: UnixListener,
    place: OwnedFd,
}

thread_local! {
    static SERVER: Option<Server> = Server::new().ok();
}

impl Server {
    fn new() -> std::io::Result<Self> {
        let thread = std::thread::current().id();
        let path = std::env::temp_dir().join(format!("rkt-fuzz-{}-{thread:?}", std::process::id()));
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let place = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        std::fs::remove_file(&path)?;
        Ok(Self { listener, place: place? })
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.place.as_raw_fd()).into()
    }
}

/// What the other side says of tunnels; the first byte says which side that is. No more comes out of them than went in. Deep: something
/// does, and the program hears the end of it.
pub fn tunnels(data: &[u8]) -> bool {
    let Some((side, frames)) = data.split_first() else { return false };
    SERVER.with(|server| {
        let Some(server) = server else { return false };
        let (side, destination) = match side & 1 {
            0 => (Side::Host, Destination::MetadataService),
            _ => (Side::Guest, Destination::Socket(0)),
        };
        let mut tunnels = Tunnels::new(side);
        tunnels.serve(destination, Target::Unix(server.path()));
        let mut buffer = FrameBuffer::new();
        buffer.push(frames);
        let (mut given, mut taken, mut ended) = (0, 0, false);
        let mut streams = Vec::new();
        while let Ok(Some(message)) = buffer.next_message::<TunnelMessage>() {
            if let TunnelMessage::Data { data, .. } = &message {
                given += data.len();
            }
            if tunnels.receive(&message).is_err() {
                break;
            }
            for message in tunnels.relay(true) {
                assert!(encode(&message).is_ok(), "{message:?} cannot be told");
            }
            assert!(tunnels.count(destination) <= destination.limit());
            while let Ok((stream, _)) = server.listener.accept() {
                assert!(stream.set_nonblocking(true).is_ok());
                streams.push(stream);
            }
            streams.retain_mut(|stream| {
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes) {
                    Ok(0) => {
                        ended = true;
                        false
                    }
                    Ok(count) => {
                        taken += count;
                        true
                    }
                    Err(_) => true,
                }
            });
            assert!(taken <= given, "{taken} bytes came out of {given}");
        }
        drop(tunnels);
        while server.listener.accept().is_ok() {}
        taken > 2 && ended
    })
}

/// What an app writes, in pieces, to either stream: what is read from its log are its lines. And the same bytes as a log. Deep: lines of
/// both streams, one of them longer than a record.
pub fn app_logs(data: &[u8]) -> bool {
    for line in data.split(|byte| *byte == b'\n') {
        if let Some((_, _, text)) = rkt::fuzzing::log_record(line) {
            assert!(text.len() < line.len());
        }
    }
    let (mut pieces, mut rest, mut total) = (Vec::new(), data, 0);
    while let Some(([head, repeat], behind)) =
        rest.split_first_chunk::<2>().filter(|_| total < MAX_WRITTEN_BYTES)
    {
        let (piece, left) = behind.split_at_checked(usize::from(head >> 1)).unwrap_or((behind, &[]));
        let piece = piece.repeat(1 + usize::from(*repeat));
        total += piece.len();
        pieces.push((head & 1 == 0, piece));
        rest = left;
    }
    let records =
        stage1::fuzzing::log_records(pieces.iter().map(|(stream, piece)| (*stream, piece.as_slice())));
    let (mut texts, mut is_cut) = ([Vec::new(), Vec::new()], false);
    for line in records.split_inclusive(|byte| *byte == b'\n') {
        let record = line.strip_suffix(b"\n").and_then(rkt::fuzzing::log_record);
        assert!(record.is_some(), "{line:?} is no record");
        let Some((is_stdout, is_whole, text)) = record else { return false };
        let [stdout, stderr] = &mut texts;
        let stream = if is_stdout { stdout } else { stderr };
        stream.extend_from_slice(text);
        stream.extend(is_whole.then_some(b'\n'));
        is_cut |= !is_whole;
    }
    let written = [true, false].map(|stream| {
        let of_stream = pieces.iter().filter(|(is_stdout, _)| *is_stdout == stream);
        let mut text: Vec<u8> = of_stream.flat_map(|(_, piece)| piece.iter().copied()).collect();
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text
    });
    assert!(written == texts, "the log has another text");
    is_cut && texts.iter().all(|text| text.iter().filter(|byte| **byte == b'\n').count() > 1)
}

/// An app's files and messages: users, programs, notifications. Deep: a program of this machine's with an interpreter.
pub fn app_files(data: &[u8]) -> bool {
    let (name, content) =
        data.split_at_checked(usize::from(data.first().copied().unwrap_or(0) % 16)).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    if let Some(number) = users::number_in(content, &name) {
        assert!(number != u32::MAX, "the number that is none");
    }
    let mut said = Said::default();
    said.hear(data);
    assert!(said.status.as_ref().is_none_or(|status| status.len() <= MAX_STATUS_BYTES));
    matches!(lookup::identify(data), Program::Elf { interpreter: Some(path) } if path.len() > 4)
}

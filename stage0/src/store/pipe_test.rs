use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use super::pipe::{Cancellation, pipe};

/// More than any pipe holds.
const LONG: usize = 20 * 1024 * 1024;

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn bytes_come_out_as_they_went_in_whatever_the_pieces() {
    let sent = bytes(1_000_003);
    for piece in [1000, 128 * 1024, 128 * 1024 + 1, 700_000] {
        let (mut writer, mut reader) = pipe(&Cancellation::default());
        let received = std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in sent.chunks(piece) {
                    writer.write_all(piece).unwrap();
                }
                writer.finish().unwrap();
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        assert!(received == sent, "pieces of {piece}");
    }
}

#[test]
fn long_stream_uses_the_same_few_buffers() {
    let (writer, mut reader) = pipe(&Cancellation::default());
    let buffers = std::thread::scope(|scope| {
        scope.spawn(|| writer.finish_with(Ok(io::repeat(7).take(LONG as u64))));
        let (mut buffers, mut received) = (HashSet::new(), 0);
        loop {
            let bytes = reader.fill_buf().unwrap();
            if bytes.is_empty() {
                break;
            }
            buffers.insert(bytes.as_ptr());
            let count = bytes.len();
            received += count;
            reader.consume(count);
        }
        assert_eq!(received, LONG);
        buffers.len()
    });
    assert!(buffers <= 10, "{buffers} buffers");
}

#[test]
fn writer_that_is_gone_is_an_error_and_no_end() {
    let (mut writer, mut reader) = pipe(&Cancellation::default());
    writer.write_all(b"half").unwrap();
    drop(writer);
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn error_of_the_source_reaches_the_reader() {
    let (writer, mut reader) = pipe(&Cancellation::default());
    let broken = (&b"half"[..]).chain(Broken);
    writer.finish_with(Ok(broken));
    assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap_err().to_string(), "broken");
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken"))
    }
}

#[test]
fn writer_learns_at_its_next_write_that_the_reader_is_gone() {
    let (mut writer, reader) = pipe(&Cancellation::default());
    writer.write_all(b"first").unwrap();
    drop(reader);
    assert_eq!(writer.write_all(b"second").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn source_is_not_read_on_when_the_reader_is_gone() {
    let (writer, reader) = pipe(&Cancellation::default());
    drop(reader);
    // An endless source: without the check this would fill the pipe and wait for ever.
    writer.finish_with(Ok(io::repeat(7)));
}

#[test]
fn cancelled_stream_is_not_read_on_though_bytes_wait() {
    let cancellation = Cancellation::default();
    let (mut writer, mut reader) = pipe(&cancellation);
    writer.write_all(&bytes(300_000)).unwrap();
    cancellation.cancel();
    assert_eq!(reader.read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

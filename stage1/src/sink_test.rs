use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::sink::Sink;

#[test]
fn lines_come_out_in_order_with_their_tags() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut sink = Sink::new(writer.as_fd());
    sink.push(b"one\n", 1);
    sink.push(b"two\n", 2);

    let (tags, error) = sink.flush();

    assert_eq!(tags, [1, 2]);
    assert!(error.is_none() && sink.is_empty());
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"one\ntwo\n");
}

#[test]
fn reader_that_does_not_read_holds_lines_back_and_blocks_nobody() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut sink = Sink::new(writer.as_fd());
    for tag in 0..64 {
        sink.push(vec![b'x'; 16 * 1024], tag);
    }

    let (first, error) = sink.flush();
    assert!(error.is_none());
    assert!(!first.is_empty() && first.len() < 64);

    let mut total = 0;
    let mut tags = first;
    let mut buffer = vec![0; 64 * 1024];
    while total < 64 * 16 * 1024 {
        total += reader.read(&mut buffer).unwrap();
        tags.extend(sink.flush().0);
    }
    assert_eq!(tags, (0..64).collect::<Vec<_>>());
}

#[test]
fn blocking_mode_of_the_inherited_descriptor_is_left_alone() {
    let (_reader, writer) = std::io::pipe().unwrap();

    let _sink: Sink<()> = Sink::new(writer.as_fd());

    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn reader_that_has_gone_closes_the_sink_and_frees_every_line() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut sink = Sink::new(writer.as_fd());
    sink.push(b"one\n", 1);
    sink.push(b"two\n", 2);

    let (tags, error) = sink.flush();

    assert_eq!(tags, [1, 2]);
    assert_eq!(error.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    sink.push(b"three\n", 3);
    let (tags, error) = sink.flush();
    assert_eq!(tags, [3]);
    assert!(error.is_none());
}

#[test]
fn file_keeps_the_position_it_was_inherited_with() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before\n").unwrap();
    let copy = file.try_clone().unwrap();
    let mut sink = Sink::new(copy.as_fd());
    sink.push(b"after\n", ());

    sink.flush();

    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before\nafter\n");
}

#[test]
fn full_socket_holds_lines_back() {
    let (_reader, writer) = UnixStream::pair().unwrap();
    let mut sink = Sink::new(writer.as_fd());
    for tag in 0..1024 {
        sink.push(vec![b'x'; 16 * 1024], tag);
    }

    let (tags, error) = sink.flush();

    assert!(error.is_none());
    assert!(tags.len() < 1024);
}

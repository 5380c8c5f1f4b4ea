use std::os::fd::OwnedFd;

use guest_api::{INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES};

use super::output::{Credit, Relayed, Stream};

fn pipe() -> (Stream, OwnedFd) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (Stream::pipe(read).unwrap(), write)
}

/// What [`Stream::relay`] says, and what it read.
pub fn relay(stream: &mut Stream) -> (Relayed, Vec<u8>) {
    let mut data = vec![0; MAX_OUTPUT_BYTES];
    let relayed = stream.relay(&mut data).unwrap();
    data.truncate(if let Relayed::Data(count) = relayed { count } else { 0 });
    (relayed, data)
}

pub fn data(bytes: &[u8]) -> (Relayed, Vec<u8>) {
    (Relayed::Data(bytes.len()), bytes.to_vec())
}

#[test]
fn credit_limits_a_message_to_what_the_host_still_takes() {
    let mut credit = Credit::initial();

    credit.spend(usize::try_from(INITIAL_CREDIT_BYTES).unwrap() - 20_000);

    assert_eq!(credit.next_message(), 20_000);
}

#[test]
fn rest_of_a_credit_waits_for_more() {
    let mut credit = Credit::initial();
    credit.spend(usize::try_from(INITIAL_CREDIT_BYTES).unwrap() - 10);

    assert_eq!(credit.next_message(), 0);
    credit.grant(INITIAL_CREDIT_BYTES / 2);
    assert_eq!(credit.next_message(), MAX_OUTPUT_BYTES);
}

#[test]
fn credit_never_allows_a_message_above_the_protocol_limit() {
    let mut credit = Credit::initial();

    credit.grant(u32::MAX);

    assert_eq!(credit.next_message(), MAX_OUTPUT_BYTES);
}

#[test]
fn stream_hands_on_bytes_unchanged_and_then_says_it_is_empty() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"one\0two\xff").unwrap();

    assert_eq!(relay(&mut stream), data(b"one\0two\xff"));
    assert_eq!(relay(&mut stream).0, Relayed::Empty);
}

#[test]
fn stream_without_credit_is_not_read_until_the_host_grants_more() {
    let (mut stream, write) = pipe();
    let total = usize::try_from(INITIAL_CREDIT_BYTES).unwrap();
    let mut sent = 0;
    while stream.readable().is_some() {
        rustix::io::write(&write, &[7; 4096]).unwrap();
        while let (Relayed::Data(count), _) = relay(&mut stream) {
            sent += count;
        }
    }
    assert!(sent <= total && sent > total / 2, "{sent}");
    rustix::io::write(&write, b"more").unwrap();

    assert_eq!(relay(&mut stream).0, Relayed::NoCredit);
    assert!(stream.readable().is_none());
    stream.grant(INITIAL_CREDIT_BYTES / 2);
    assert_eq!(relay(&mut stream), data(b"more"));
    assert_eq!(relay(&mut stream).0, Relayed::Empty);
}

#[test]
fn stream_ends_once_when_its_last_writer_is_gone() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"bye").unwrap();
    drop(write);

    assert_eq!(relay(&mut stream), data(b"bye"));
    assert_eq!(relay(&mut stream).0, Relayed::End);
    assert_eq!(relay(&mut stream).0, Relayed::Closed);
    assert!(!stream.close());
}

#[test]
fn only_what_was_in_the_pipe_at_the_end_is_owed() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"before").unwrap();
    stream.owe_what_is_there().unwrap();
    rustix::io::write(&write, b"after").unwrap();

    assert!(!stream.owes_nothing());
    assert_eq!(relay(&mut stream), data(b"beforeafter"));
    assert!(stream.owes_nothing());
}

#[test]
fn closed_stream_owes_nothing() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"lost").unwrap();
    stream.owe_what_is_there().unwrap();

    assert!(stream.close());

    assert!(stream.owes_nothing());
}

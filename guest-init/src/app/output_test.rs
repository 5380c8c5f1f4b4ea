use std::os::fd::OwnedFd;

use guest_api::{INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES};

use super::output::{Credit, Relayed, Stream};

fn pipe() -> (Stream, OwnedFd) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (Stream::pipe(read).unwrap(), write)
}

#[test]
fn credit_limits_a_message_to_what_the_host_still_takes() {
    let mut credit = Credit::initial();

    credit.spend(usize::try_from(INITIAL_CREDIT_BYTES).unwrap() - 10);

    assert_eq!(credit.next_message(), 10);
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

    assert_eq!(stream.relay().unwrap(), Relayed::Data(b"one\0two\xff".to_vec()));
    assert_eq!(stream.relay().unwrap(), Relayed::Empty);
}

#[test]
fn stream_without_credit_is_not_read_until_the_host_grants_more() {
    let (mut stream, write) = pipe();
    let total = usize::try_from(INITIAL_CREDIT_BYTES).unwrap();
    let mut sent = 0;
    while sent < total {
        rustix::io::write(&write, &[7; 4096]).unwrap();
        while let Relayed::Data(data) = stream.relay().unwrap() {
            sent += data.len();
        }
    }
    rustix::io::write(&write, b"more").unwrap();

    assert_eq!(stream.relay().unwrap(), Relayed::NoCredit);
    assert!(stream.readable().is_none());
    stream.grant(3);
    assert_eq!(stream.relay().unwrap(), Relayed::Data(b"mor".to_vec()));
    assert_eq!(stream.relay().unwrap(), Relayed::NoCredit);
}

#[test]
fn stream_ends_once_when_its_last_writer_is_gone() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"bye").unwrap();
    drop(write);

    assert_eq!(stream.relay().unwrap(), Relayed::Data(b"bye".to_vec()));
    assert_eq!(stream.relay().unwrap(), Relayed::End);
    assert_eq!(stream.relay().unwrap(), Relayed::Closed);
    assert!(!stream.close());
}

#[test]
fn only_what_was_in_the_pipe_at_the_end_is_owed() {
    let (mut stream, write) = pipe();
    rustix::io::write(&write, b"before").unwrap();
    stream.owe_what_is_there().unwrap();
    rustix::io::write(&write, b"after").unwrap();

    assert!(!stream.owes_nothing());
    assert_eq!(stream.relay().unwrap(), Relayed::Data(b"beforeafter".to_vec()));
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

use std::os::fd::OwnedFd;

use guest_api::{INITIAL_INPUT_CREDIT_BYTES, MAX_INPUT_BYTES};

use super::input::{BeyondCredit, Input};

fn pipe() -> (Input, OwnedFd) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    (Input::pipe(write).unwrap(), read)
}

/// What can be read at the moment; None at the end of the input.
fn read(pipe: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 1024 * 1024];
    match rustix::io::read(pipe, bytes.as_mut_slice()) {
        Ok(0) => None,
        Ok(count) => Some(bytes[..count].to_vec()),
        Err(error) => {
            assert_eq!(error, rustix::io::Errno::AGAIN);
            Some(Vec::new())
        }
    }
}

fn message(byte: u8) -> Vec<u8> {
    vec![byte; MAX_INPUT_BYTES]
}

/// Makes the pipe too small for what the host may send.
fn narrow(pipe: &OwnedFd) {
    rustix::pipe::fcntl_setpipe_size(pipe, 4096).unwrap();
}

#[test]
fn input_arrives_unchanged_and_ends_when_the_host_says_so() {
    let (mut input, process) = pipe();

    input.accept(b"one\0two\xff").unwrap();
    assert_eq!(read(&process), Some(b"one\0two\xff".to_vec()));
    input.finish();

    assert_eq!(read(&process), None);
}

#[test]
fn process_that_does_not_read_keeps_nobody_waiting() {
    let (mut input, process) = pipe();
    narrow(&process);

    for byte in 0..4 {
        input.accept(&message(byte)).unwrap();
    }
    input.finish();

    assert!(input.writable().is_some());
    let mut received = Vec::new();
    while let Some(bytes) = read(&process) {
        received.extend(bytes);
        input.write();
    }
    assert_eq!(received, [message(0), message(1), message(2), message(3)].concat());
    assert!(input.writable().is_none());
}

#[test]
fn credit_comes_back_for_what_the_pipe_took_and_only_for_that() {
    let (mut input, process) = pipe();
    narrow(&process);
    for byte in 0..4 {
        input.accept(&message(byte)).unwrap();
    }
    assert_eq!(input.grant(), None);
    assert_eq!(input.accept(b"x"), Err(BeyondCredit));

    let mut taken = 4096;
    while taken < INITIAL_INPUT_CREDIT_BYTES / 4 {
        taken += u32::try_from(read(&process).unwrap().len()).unwrap();
        input.write();
    }

    assert_eq!(input.grant(), Some(taken));
    assert_eq!(input.grant(), None);
    assert_eq!(input.accept(b"x"), Ok(()));
}

#[test]
fn message_above_the_protocol_limit_is_refused() {
    let (mut input, _process) = pipe();

    assert_eq!(input.accept(&vec![0; MAX_INPUT_BYTES + 1]), Err(BeyondCredit));
}

#[test]
fn input_for_a_process_that_closed_its_own_is_dropped_and_earns_credit() {
    let (mut input, process) = pipe();
    drop(process);

    input.accept(&message(0)).unwrap();
    input.accept(&message(1)).unwrap();

    assert!(input.writable().is_none());
    assert_eq!(input.grant(), Some(u32::try_from(2 * MAX_INPUT_BYTES).unwrap()));
}

#[test]
fn input_for_a_process_without_any_is_dropped_and_earns_credit() {
    let mut input = Input::none();

    input.accept(&message(0)).unwrap();
    input.finish();

    assert_eq!(input.grant(), Some(u32::try_from(MAX_INPUT_BYTES).unwrap()));
}

#[test]
fn input_after_its_end_is_dropped() {
    let (mut input, process) = pipe();

    input.finish();
    input.accept(b"late").unwrap();

    assert_eq!(read(&process), None);
}

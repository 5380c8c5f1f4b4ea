use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use guest_api::{AppId, FrameBuffer, Process, StdioStream, ToGuest, ToHost, encode};

use crate::InitError;
use crate::control::outgoing::OUTPUT_BYTES;
use crate::control::{Control, Received};

const STDOUT: StdioStream = StdioStream::Stdout;

fn connection() -> (Control, UnixStream) {
    let (guest, host) = UnixStream::pair().unwrap();
    (Control::over(guest.into()).unwrap(), host)
}

#[test]
fn messages_that_arrive_together_are_handed_out_one_by_one() {
    let (mut control, mut host) = connection();
    let bytes = [encode(&ToGuest::Stop).unwrap(), encode(&ToGuest::Stop).unwrap()].concat();
    host.write_all(&bytes).unwrap();

    assert_eq!(control.wait_for_message().unwrap(), ToGuest::Stop);
    assert_eq!(control.next_message().unwrap(), Some(ToGuest::Stop));
    assert_eq!(control.next_message().unwrap(), None);
}

#[test]
fn waiting_ends_with_an_error_when_the_host_hangs_up() {
    let (mut control, host) = connection();
    drop(host);

    assert!(matches!(control.wait_for_message().unwrap_err(), InitError::ConnectionClosed));
    assert_eq!(control.receive().unwrap(), Received::Closed);
}

#[test]
fn host_that_does_not_read_makes_room_run_out_without_blocking() {
    let (mut control, _host) = connection();

    let mut queued = 0;
    while control.has_room() {
        control.queue(&ToHost::Failed { reason: "x".repeat(10_000) });
        control.flush().unwrap();
        queued += 1;
        assert!(queued < 10_000, "the queue never fills");
    }
}

#[test]
fn everything_queued_reaches_the_host_before_the_connection_closes() {
    let (mut control, mut host) = connection();
    let messages = [ToHost::Failed { reason: "y".repeat(1_000_000) }, ToHost::Halting];
    messages.iter().for_each(|message| control.queue(message));
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        host.read_to_end(&mut bytes).unwrap();
        bytes
    });

    control.close().unwrap();

    let mut buffer = FrameBuffer::new();
    buffer.push(&reader.join().unwrap());
    for message in messages {
        assert_eq!(buffer.next_message::<ToHost>().unwrap(), Some(message));
    }
}

#[test]
fn outputs_and_messages_reach_the_host_in_the_order_in_which_they_were_queued() {
    let (mut control, mut host) = connection();
    let process = Process::App(AppId(1));
    let output = |byte: u8, bytes| ToHost::Output { process, stream: STDOUT, data: vec![byte; bytes] };
    // The last ones are read to buffers that were used before.
    let sent: Vec<ToHost> = (1..=8).flat_map(|byte| [output(byte, OUTPUT_BYTES), ToHost::Ready]).collect();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        host.read_to_end(&mut bytes).unwrap();
        bytes
    });

    for message in &sent {
        if let ToHost::Output { data, .. } = message {
            let mut buffer = control.output_buffer();
            buffer.room().copy_from_slice(data);
            control.queue_output(process, STDOUT, buffer, data.len());
        } else {
            control.queue(message);
        }
        let unused = control.output_buffer();
        control.queue_output(process, STDOUT, unused, 0);
        control.flush().unwrap();
    }
    control.close().unwrap();

    let mut buffer = FrameBuffer::new();
    buffer.push(&reader.join().unwrap());
    for message in sent {
        assert_eq!(buffer.next_message::<ToHost>().unwrap(), Some(message));
    }
}

use crate::{AppId, FrameBuffer, Incoming, Output, Process, SessionId, StdioStream, ToHost, append, encode};

const DATA: &[u8] = b"one\ntwo\0\xff";

fn borrowed(process: Process) -> Output<'static> {
    Output { process, stream: StdioStream::Stderr, data: DATA }
}

fn owned(process: Process) -> ToHost {
    ToHost::Output { process, stream: StdioStream::Stderr, data: DATA.to_vec() }
}

#[test]
fn borrowed_output_is_the_same_frame_as_an_owned_one() {
    for process in [Process::App(AppId(300)), Process::Session(SessionId(70_000))] {
        let mut frame = b"before".to_vec();
        append(&mut frame, &borrowed(process)).unwrap();

        assert_eq!(frame, [b"before", encode(&owned(process)).unwrap().as_slice()].concat());
    }
}

#[test]
fn outputs_and_other_messages_are_told_apart() {
    let process = Process::App(AppId(3));
    let mut buffer = FrameBuffer::new();
    for message in [ToHost::Ready, owned(process), ToHost::Halting] {
        buffer.push(&encode(&message).unwrap());
    }

    assert_eq!(buffer.next_incoming().unwrap(), Some(Incoming::Message(ToHost::Ready)));
    assert_eq!(buffer.next_incoming().unwrap(), Some(Incoming::Output(borrowed(process))));
    assert_eq!(buffer.next_incoming().unwrap(), Some(Incoming::Message(ToHost::Halting)));
    assert_eq!(buffer.next_incoming().unwrap(), None);
}

#[test]
fn output_with_bytes_behind_it_in_its_frame_is_refused() {
    let mut frame = encode(&owned(Process::App(AppId(3)))).unwrap();
    frame.push(0);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let mut buffer = FrameBuffer::new();
    buffer.push(&frame);

    assert!(buffer.next_incoming().is_err());
}

use crate::{
    AppId, FrameBuffer, Incoming, MAX_OUTPUT_BYTES, MAX_OUTPUT_FRONT_BYTES, Output, OutputFront, Process,
    SessionId, StdioStream, ToHost, append, encode, output_front,
};

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
fn bytes_behind_the_front_of_their_frame_are_the_same_frame() {
    for bytes in [0, 1, 127, 128, MAX_OUTPUT_BYTES] {
        for process in [Process::App(AppId(u16::MAX)), Process::Session(SessionId(u32::MAX))] {
            let data = vec![b'x'; bytes];
            let front = output_front(process, StdioStream::Stderr, bytes).unwrap();

            let whole = ToHost::Output { process, stream: StdioStream::Stderr, data: data.clone() };
            assert_eq!([front.as_slice(), &data].concat(), encode(&whole).unwrap());
            assert!(front.len() <= MAX_OUTPUT_FRONT_BYTES, "{}", front.len());
        }
    }
}

#[test]
fn front_of_an_output_is_known_without_its_bytes_and_nothing_else_is_taken_for_one() {
    let process = Process::App(AppId(300));
    let front = output_front(process, StdioStream::Stdout, 60_000).unwrap();
    let known = OutputFront { process, stream: StdioStream::Stdout, bytes: 60_000, length: front.len() };
    let mut longer = front.clone();
    longer[0] += 1;

    assert_eq!(OutputFront::of(&front), Some(known));
    assert_eq!(OutputFront::of(&[front.as_slice(), b"some of its bytes"].concat()), Some(known));
    assert_eq!(OutputFront::of(&front[..front.len() - 1]), None);
    assert_eq!(OutputFront::of(&longer), None);
    assert_eq!(OutputFront::of(&encode(&ToHost::Ready).unwrap()), None);
    assert_eq!(OutputFront::of(&[]), None);
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

use proptest::prelude::*;

use crate::{AppId, FrameBuffer, FrameError, MAX_FRAME_BYTES, Process, StdioStream, ToGuest, ToHost, encode};

fn output(data: Vec<u8>) -> ToHost {
    ToHost::Output { process: Process::App(AppId(7)), stream: StdioStream::Stderr, data }
}

#[test]
fn message_survives_arriving_one_byte_at_a_time() {
    let messages = [output(vec![1, 2, 3]), ToHost::Ready, output(Vec::new())];
    let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
    let mut buffer = FrameBuffer::new();

    let mut received = Vec::new();
    for byte in stream {
        buffer.push(&[byte]);
        while let Some(message) = buffer.next_message::<ToHost>().unwrap() {
            received.push(message);
        }
    }

    assert_eq!(received, messages);
}

#[test]
fn frame_longer_than_the_limit_is_refused_before_its_payload_arrives() {
    let mut buffer = FrameBuffer::new();
    buffer.push(&u32::MAX.to_le_bytes());

    let error = buffer.next_message::<ToHost>().unwrap_err();

    assert!(matches!(error, FrameError::TooLong(_)));
}

#[test]
fn encoding_a_message_above_the_limit_is_an_error() {
    let error = encode(&output(vec![0; MAX_FRAME_BYTES])).unwrap_err();

    assert!(matches!(error, FrameError::TooLong(_)));
}

#[test]
fn bytes_after_the_message_in_one_frame_are_refused() {
    let mut frame = encode(&ToGuest::Stop).unwrap();
    frame.push(0);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_le_bytes());
    let mut buffer = FrameBuffer::new();
    buffer.push(&frame);

    let error = buffer.next_message::<ToGuest>().unwrap_err();

    assert!(matches!(error, FrameError::Malformed(_)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut buffer = FrameBuffer::new();
        buffer.push(&bytes);
        while let Ok(Some(_)) = buffer.next_message::<ToHost>() {}
    }

    #[test]
    fn random_payloads_in_honest_frames_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut buffer = FrameBuffer::new();
        buffer.push(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        buffer.push(&payload);
        let _ = buffer.next_message::<ToHost>();
        buffer.push(&payload);
        let _ = buffer.next_message::<ToGuest>();
    }
}

#[test]
fn bytes_are_encoded_as_a_sequence_of_numbers_would_be() {
    let data = b"any bytes\0\xff".to_vec();
    let stream = StdioStream::Stdout;
    let process = Process::App(AppId(1));

    let frame = encode(&ToHost::Output { process, stream, data: data.clone() }).unwrap();

    let numbers = postcard::to_allocvec(&data).unwrap();
    assert!(frame.ends_with(&numbers), "{frame:?}");
}

use std::io::Write;
use std::os::unix::net::UnixStream;

use guest_api::{AppId, Incoming, Process, StdioStream, ToHost, encode};

use super::control::Control;

const DATA: &[u8] = b"what the app wrote";

fn connection() -> (Control, UnixStream) {
    let (host, guest) = UnixStream::pair().unwrap();
    (Control::new(host).unwrap(), guest)
}

fn output() -> Vec<u8> {
    let data = DATA.to_vec();
    encode(&ToHost::Output { process: Process::App(AppId(3)), stream: StdioStream::Stderr, data }).unwrap()
}

#[test]
fn bytes_of_an_output_can_be_left_in_the_socket_and_what_follows_is_heard() {
    let (mut control, mut guest) = connection();
    guest.write_all(&[output(), encode(&ToHost::Ready).unwrap()].concat()).unwrap();

    let front = control.next_output().unwrap().unwrap();
    control.take_front(front).unwrap();
    let mut bytes = vec![0; front.bytes];
    let count = control.take_bytes(&mut bytes).unwrap();
    control.fill().unwrap();

    assert_eq!((front.process, front.stream), (Process::App(AppId(3)), StdioStream::Stderr));
    assert_eq!(&bytes[..count], DATA);
    assert_eq!(control.next_message().unwrap(), Some(Incoming::Message(ToHost::Ready)));
}

#[test]
fn an_output_of_which_something_was_read_is_left_to_the_reader_of_messages() {
    let (mut control, mut guest) = connection();
    let frame = output();
    let (begin, rest) = frame.split_at(frame.len() - 1);
    guest.write_all(begin).unwrap();
    control.fill().unwrap();
    assert_eq!(control.next_message().unwrap(), None);
    guest.write_all(rest).unwrap();

    assert_eq!(control.next_output().unwrap(), None);
    control.fill().unwrap();
    assert!(matches!(control.next_message().unwrap(), Some(Incoming::Output(output)) if output.data == DATA));
}

#[test]
fn nothing_and_the_end_are_no_outputs() {
    let (mut control, mut guest) = connection();
    assert_eq!(control.next_output().unwrap(), None);
    guest.write_all(&output()).unwrap();
    drop(guest);

    let front = control.next_output().unwrap().unwrap();
    control.take_front(front).unwrap();
    let mut bytes = vec![0; front.bytes];
    assert_eq!(control.take_bytes(&mut bytes).unwrap(), DATA.len());
    assert_eq!(control.take_bytes(&mut bytes).unwrap(), 0);
    assert_eq!(control.next_output().unwrap(), None);
    assert!(control.is_closed());
}

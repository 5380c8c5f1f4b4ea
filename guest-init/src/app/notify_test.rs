use std::os::unix::net::UnixDatagram;

use guest_api::{AppId, MAX_STATUS_BYTES, Notice};

use super::notify::{NotifySocket, Said};

struct Notified {
    directory: tempfile::TempDir,
    socket: NotifySocket,
}

fn notified() -> Notified {
    let directory = tempfile::tempdir().unwrap();
    let socket = NotifySocket::listen_at(AppId(3), &directory.path().join("notify")).unwrap();
    Notified { directory, socket }
}

impl Notified {
    fn send(&self, message: &[u8]) {
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(message, self.directory.path().join("notify")).unwrap();
    }
}

#[test]
fn app_is_ready_once_a_line_of_a_message_says_so() {
    let notified = notified();
    assert!(!notified.socket.hear_where(|_| false).ready);
    notified.send(b"STATUS=READY=1\nREADY=0\nXREADY=1");
    assert!(!notified.socket.hear_where(|_| false).ready);

    notified.send(b"STATUS=loaded\nREADY=1\nMAINPID=7");

    assert!(notified.socket.hear_where(|_| false).ready);
}

#[test]
fn another_apps_process_is_not_heard() {
    let notified = notified();
    notified.send(b"READY=1");

    let said = notified.socket.hear_where(|pid| pid == i32::try_from(std::process::id()).unwrap());

    assert_eq!(said, Said::default());
}

#[test]
fn messages_that_are_too_long_or_no_text_are_nothing() {
    let notified = notified();
    notified.send(&[b"READY=1\n".as_slice(), &[b'x'; 8000]].concat());
    notified.send(&[0xff; 100]);
    notified.send(b"");

    assert!(!notified.socket.hear_where(|_| false).ready);
}

#[test]
fn descriptors_that_come_with_a_message_are_closed() {
    use std::io::Read;
    use std::os::fd::AsFd;
    let notified = notified();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let descriptors = [writer.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors)));
    let to = rustix::net::SocketAddrUnix::new(notified.directory.path().join("notify")).unwrap();
    let message = [std::io::IoSlice::new(b"READY=1")];
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendmsg_addr(&sender, &to, &message, &mut control, flags).unwrap();
    drop(writer);

    let ready = notified.socket.hear_where(|_| false).ready;

    assert!(ready);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn host_is_told_the_last_status_and_that_the_app_is_alive() {
    let notified = notified();
    notified.send(b"STATUS=first\nWATCHDOG=1");
    notified.send(b"MAINPID=1\nSTATUS=second\nBUSERROR=no");
    notified.send(&[b"STATUS=".as_slice(), &[b'x'; MAX_STATUS_BYTES + 1]].concat());

    let notices = notified.socket.hear_where(|_| false).notices();

    assert_eq!(notices, [Notice::Status("second".to_owned()), Notice::Alive]);
}

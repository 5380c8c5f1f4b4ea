use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use guest_api::StdioStream;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{Attached, FromApp};
use crate::escapes::Escapes;
use crate::exit::ExitCode;
use crate::sink::Sink;

fn from_app(output: StdioStream) -> (UnixStream, FromApp) {
    let (app, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (app, FromApp { stream: ours, output: Some(output) })
}

#[test]
fn an_output_that_has_ended_does_not_cut_off_what_has_come_of_the_other() {
    let (mut stdout, first) = from_app(StdioStream::Stdout);
    let (stderr, second) = from_app(StdioStream::Stderr);
    // More than is read at once.
    stdout.set_nonblocking(true).unwrap();
    let mut said = 0;
    while let Ok(count) = stdout.write(&[b'x'; 4096]) {
        said += count;
    }
    drop(stderr);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });
    let null = std::fs::File::open("/dev/null").unwrap();
    let attached = Attached {
        app: "app".to_owned(),
        signals: SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap(),
        stdin: null.as_fd(),
        raw: None,
        escapes: Escapes::default(),
        to_app: None,
        ended_input: None,
        from_app: vec![first, second],
        stdout: Sink::new(writer.as_fd()),
        stderr: Sink::new(null.as_fd()),
        control: None,
        // The second that the others have is over.
        ends_at: Some(Instant::now()),
    };

    let code = attached.run(false).unwrap();

    drop(writer);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(said > 64 * 1024);
    assert_eq!(read.join().unwrap(), said);
}

use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use guest_api::{AppId, StdioStream};

use super::log_files::LogFiles;
use super::output::{Outputs, Written};
use super::streams::{Mode, Streams};

const APP: AppId = AppId(0);
const OTHER: AppId = AppId(1);
const NOW: Duration = Duration::from_secs(1);

#[test]
fn stream_comes_out_in_lines_and_is_accounted_for_byte_by_byte() {
    let (mut reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    outputs.started(APP, "app", 7, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, b"one\ntw");
    outputs.close(APP, StdioStream::Stdout);

    let written = outputs.flush(NOW);

    let bytes = |bytes| Written { app: APP, stream: StdioStream::Stdout, bytes };
    assert_eq!(written, [bytes(6)]);
    assert!(!outputs.is_waiting());
    let mut text = [0; 53];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"[    1.000000] app[7]: one\n[    1.000000] app[7]: tw\n");
    let log = std::fs::read_to_string(directory.path().join("app.log")).unwrap();
    let texts: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    assert_eq!(texts, ["stdout F one", "stdout F tw"]);
}

#[test]
fn what_event_handlers_write_carries_their_own_process_ids() {
    let (mut reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    outputs.started(APP, "app", 7, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, b"before\nhalf");
    outputs.started(APP, "app", 8, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, b"during\n");

    outputs.flush(NOW);
    drop(outputs);
    drop(writer);

    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let labels =
        "[    1.000000] app[7]: before\n[    1.000000] app[7]: half\n[    1.000000] app[8]: during\n";
    assert_eq!(text, labels);
}

#[test]
fn logs_do_not_wait_for_a_reader_and_their_failure_is_said_once() {
    let (_reader, writer) = pipe().unwrap();
    let (mut errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("bad.log")).unwrap();
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), LogFiles::new(directory.path()));
    outputs.started(APP, "good", 7, &Streams::LOG);
    outputs.started(OTHER, "bad", 8, &Streams::LOG);

    outputs.push(APP, StdioStream::Stdout, &b"0123456789\n".repeat(20_000));
    outputs.push(OTHER, StdioStream::Stdout, b"lost\n");
    outputs.flush(NOW);

    let log = std::fs::read_to_string(directory.path().join("good.log")).unwrap();
    assert_eq!(log.lines().count(), 20_000);
    let mut text = vec![0; 4096];
    let count = errors.read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..count]);
    assert_eq!(text.matches("warning: logs are incomplete: cannot write").count(), 1, "{text}");
}

#[test]
fn line_breaks_that_nobody_reads_cost_no_more_than_they_are() {
    let (_reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    outputs.started(APP, "app", 7, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, &vec![b'\n'; 256 * 1024]);

    outputs.flush(NOW);

    assert!(outputs.is_waiting());
    assert!(outputs.waiting_line_bytes() < 400 * 1024, "{}", outputs.waiting_line_bytes());
}

#[test]
fn app_that_floods_does_not_keep_another_from_its_turn() {
    let (mut reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    outputs.started(APP, "flood", 7, &Streams::LOG);
    outputs.started(OTHER, "quiet", 8, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, &b"0123456789\n".repeat(20_000));
    outputs.push(OTHER, StdioStream::Stdout, b"hello\n");

    outputs.flush(NOW);

    let mut text = vec![0; 60 * 1024];
    reader.read_exact(&mut text).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("quiet[8]: hello\n"));
}

#[test]
fn line_that_is_half_out_is_finished_before_the_other_output_has_its_turn() {
    let (mut reader, mut writer) = pipe().unwrap();
    // Sixteen pages, the last with room for a part of the long line and for the short one.
    writer.write_all(&[b'\n'; 15 * 4096 + 500]).unwrap();
    let error_writer = writer.try_clone().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    outputs.started(APP, "app", 7, &Streams::LOG);
    outputs.push(APP, StdioStream::Stdout, &[&[b'x'; 9000][..], b"\n"].concat());
    outputs.push(APP, StdioStream::Stderr, b"short\n");

    let mut text = Vec::new();
    let mut piece = [0; 4096];
    while {
        outputs.flush(NOW);
        outputs.is_waiting()
    } {
        let count = reader.read(&mut piece).unwrap();
        text.extend_from_slice(&piece[..count]);
    }
    drop(outputs);
    drop((writer, error_writer));
    reader.read_to_end(&mut text).unwrap();

    let long = format!("[    1.000000] app[7]: {}\n", "x".repeat(9000));
    assert_eq!(
        String::from_utf8(text).unwrap().trim_start(),
        format!("{long}[    1.000000] app[7]: short\n")
    );
}

#[test]
fn kernel_that_talks_to_nobody_loses_its_messages_and_nothing_else() {
    let (_reader, writer) = pipe().unwrap();
    let (mut errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    for _ in 0..10_000 {
        outputs.machine_message("kernel", &[b'k'; 100]);
        outputs.flush(NOW);
    }
    assert!(outputs.waiting_line_bytes() < 300 * 1024);

    let mut piece = vec![0; 64 * 1024];
    while outputs.is_waiting() {
        errors.read_exact(&mut piece[..1000]).unwrap();
        outputs.flush(NOW);
    }
    outputs.machine_message("kernel", b"late\n");
    outputs.flush(NOW);
    drop(outputs);
    drop(error_writer);

    let mut text = String::new();
    errors.read_to_string(&mut text).unwrap();
    assert!(text.contains("messages lost)\n"), "{text}");
    assert!(text.ends_with("kernel: late\n"));
}

#[test]
fn saying_something_waits_for_nobody() {
    let (_reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    for _ in 0..2000 {
        outputs.say(&"x".repeat(100));
    }

    outputs.flush(NOW);

    assert!(outputs.is_waiting());
}

#[test]
fn bytes_that_pass_as_they_are_arrive_in_order_however_slow_their_reader_is() {
    let (mut reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), LogFiles::new(directory.path()));
    let own = Streams { stdin: Mode::Interactive, stdout: Mode::Interactive, stderr: Mode::Interactive };
    outputs.started(APP, "app", 7, &own);
    let sent: Vec<u8> = (0..300_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let (mut pieces, mut reported, mut read) = (sent.chunks(60_000), 0, Vec::new());

    while read.len() < sent.len() {
        pieces.next().into_iter().for_each(|piece| outputs.push(APP, StdioStream::Stdout, piece));
        reported += outputs.flush(NOW).iter().map(|written| written.bytes as usize).sum::<usize>();
        let mut some = [0; 50_000];
        let count = reader.read(&mut some).unwrap();
        read.extend_from_slice(&some[..count]);
    }

    assert!(read == sent);
    assert_eq!(reported, sent.len());
    assert!(!outputs.is_waiting());
}

#[test]
fn what_passes_as_it_is_goes_from_a_socket_into_the_pipe_as_far_as_the_reader_takes_it() {
    let (mut reader, writer) = pipe().unwrap();
    let (_errors, error_writer) = pipe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let logs = LogFiles::new(directory.path());
    let mut outputs = Outputs::new(writer.as_fd(), error_writer.as_fd(), logs);
    let own = Streams { stdin: Mode::Null, stdout: Mode::Interactive, stderr: Mode::Log };
    outputs.started(APP, "app", 7, &own);
    let sent: Vec<u8> = (0..150_000_u32).map(|index| (index / 251) as u8).collect();
    let (mut guest, mut socket) = UnixStream::pair().unwrap();
    guest.write_all(&sent).unwrap();
    drop(guest);

    assert!(outputs.splices(APP, StdioStream::Stdout) && !outputs.splices(APP, StdioStream::Stderr));
    let mut moved = 0;
    while let count @ 1.. = outputs.splice(APP, StdioStream::Stdout, socket.as_fd(), 100_000 - moved) {
        moved += count;
    }
    // The pipe is full, or this was all: the next ones wait, and nothing gets in front of them.
    let mut rest = vec![0; sent.len() - moved];
    socket.read_exact(&mut rest).unwrap();
    outputs.push(APP, StdioStream::Stdout, &rest);
    let mut written = 0;
    let mut received = Vec::new();
    while received.len() < sent.len() {
        assert_eq!(outputs.splice(APP, StdioStream::Stdout, socket.as_fd(), 1), 0);
        written += outputs.flush(NOW).iter().map(|written| written.bytes).sum::<u32>();
        let mut chunk = vec![0; 10_000];
        let count = reader.read(&mut chunk).unwrap();
        received.extend_from_slice(&chunk[..count]);
    }

    assert!(moved > 0, "nothing was moved");
    assert!(received == sent, "other bytes, or in another order");
    assert_eq!(usize::try_from(written).unwrap(), sent.len());
}

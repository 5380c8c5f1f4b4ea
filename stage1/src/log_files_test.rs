//! Logs hold every line with its stream, rotate, and never fail the pod.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use guest_api::{AppId, StdioStream};

use super::log_files::LogFiles;
use super::stdio::MAX_LINE_BYTES;

const APP: AppId = AppId(0);
const OUT: StdioStream = StdioStream::Stdout;
const ERR: StdioStream = StdioStream::Stderr;

/// Each record without its time, which is checked to be one.
fn records(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let record = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap();
        time.parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000000000Z".len());
        rest.to_owned()
    };
    text.lines().map(record).collect()
}

#[test]
fn lines_of_both_streams_are_logged_in_the_order_in_which_they_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut logs = LogFiles::new(&directory.path().join("logs"));
    assert!(logs.started(APP, "web").is_none());

    for (stream, data) in [(OUT, "on"), (ERR, "bad\n\n"), (OUT, "e\ntwo\nthr"), (ERR, "rest")] {
        assert!(logs.push(APP, stream, data.as_bytes()).is_none());
    }
    assert!(logs.close(APP, OUT).is_none());
    assert!(logs.close_all().is_none());

    let expected =
        ["stderr F bad", "stderr F ", "stdout F one", "stdout F two", "stdout F thr", "stderr F rest"];
    assert_eq!(records(&directory.path().join("logs/web.log")), expected);
}

#[test]
fn an_app_that_says_nothing_has_an_empty_log_that_the_group_can_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut logs = LogFiles::new(&directory.path().join("logs"));

    assert!(logs.started(APP, "web").is_none());
    assert!(logs.close_all().is_none());

    let metadata = fs::metadata(directory.path().join("logs/web.log")).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (0, 0o640));
}

#[test]
fn a_long_line_is_cut_into_pieces_that_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let mut logs = LogFiles::new(directory.path());
    logs.started(APP, "web");
    let long = vec![b'x'; 2 * MAX_LINE_BYTES];

    logs.push(APP, OUT, &long);
    logs.push(APP, OUT, b"end\n");

    let lengths: Vec<(String, usize)> = records(&directory.path().join("web.log"))
        .iter()
        .map(|record| (record[..9].to_owned(), record.len() - 9))
        .collect();
    let piece = |tag: &str, length| (format!("stdout {tag} "), length);
    assert_eq!(
        lengths,
        [piece("P", MAX_LINE_BYTES), piece("P", MAX_LINE_BYTES), piece("F", 3)],
        "a line as long as a piece is one"
    );
}

#[test]
fn a_line_of_exactly_the_longest_length_is_one_piece() {
    let directory = tempfile::tempdir().unwrap();
    let mut logs = LogFiles::new(directory.path());
    logs.started(APP, "web");
    let mut line = vec![b'x'; MAX_LINE_BYTES];
    line.push(b'\n');

    logs.push(APP, OUT, &line);

    let records = records(&directory.path().join("web.log"));
    assert_eq!(records.len(), 1);
    assert!(records[0].starts_with("stdout F x"));
}

#[test]
fn full_files_are_put_aside_and_the_oldest_goes() {
    let directory = tempfile::tempdir().unwrap();
    // A record of one digit takes 41 bytes: two fit.
    let mut logs = LogFiles::with_limit(directory.path(), 100);
    logs.started(APP, "web");

    for number in 0..12 {
        assert!(logs.push(APP, OUT, format!("{}\n", number % 10).as_bytes()).is_none());
    }

    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["web.log", "web.log.1", "web.log.2", "web.log.3", "web.log.4"]);
    assert_eq!(records(&directory.path().join("web.log")), ["stdout F 0", "stdout F 1"]);
    assert_eq!(records(&directory.path().join("web.log.4")), ["stdout F 2", "stdout F 3"]);
}

#[test]
fn a_log_that_cannot_be_written_is_complained_about_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("logs"), "in the way").unwrap();
    let mut logs = LogFiles::new(&directory.path().join("logs"));

    let first = logs.started(APP, "web");
    let second = logs.push(APP, OUT, b"lost\n");

    let text = first.unwrap().to_string();
    assert!(text.starts_with("warning: logs are incomplete: cannot write ") && text.contains("web.log: "));
    assert!(second.is_none());
}

/// A limit of the process's files fails a write in its middle, as a disk does that becomes full. Other tests of this process
/// are not to have it, so this one runs itself once more.
#[test]
fn a_full_disk_costs_lines_but_leaves_whole_ones() {
    const LIMITED: &str = "RKT_TEST_FILE_SIZE_IS_LIMITED";
    if std::env::var_os(LIMITED).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "log_files_test::a_full_disk_costs_lines_but_leaves_whole_ones"]);
        again.env(LIMITED, "1");
        let limit = || {
            // SAFETY: the disposition of one signal changes, no memory is touched.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
            let limit = rustix::process::Rlimit { current: Some(100_000), maximum: Some(100_000) };
            Ok(rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)?)
        };
        // SAFETY: between fork and exec the closure makes two system calls and touches no memory that others share.
        unsafe { again.pre_exec(limit) };
        assert!(again.output().unwrap().status.success());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut logs = LogFiles::with_limit(directory.path(), 50_000);
    logs.started(APP, "web");

    let error = logs.push(APP, OUT, "0123456789\n".repeat(10_000).as_bytes());
    let after = logs.push(APP, OUT, b"again\n");

    assert!(error.is_some());
    assert!(after.is_none());
    let whole = records(&directory.path().join("web.log.1"));
    assert!(whole.len() > 1000, "{}", whole.len());
    assert!(whole.iter().all(|record| record == "stdout F 0123456789"));
    assert_eq!(records(&directory.path().join("web.log")), ["stdout F again"]);
}

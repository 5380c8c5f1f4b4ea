//! Logs are read whole, in order and while they are put aside.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use uuid::Uuid;

use super::locate::{FoundPod, Pods};
use super::log_file::Record;
use super::logs::{LogQuery, LogStream, Logs};
use super::state::Stage;

struct TestPod {
    _directory: TempDir,
    pods: Pods,
    uuid: Uuid,
}

impl TestPod {
    /// An exited pod with the apps `a` and `b`.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pods = Pods::of(directory.path());
        let pod = TestPod { _directory: directory, pods, uuid: Uuid::from_u128(7) };
        fs::create_dir_all(pod.path().join("logs")).unwrap();
        let app = |name: &str| {
            let image = format!(r#"{{"id":"sha512-{}"}}"#, "0".repeat(64));
            format!(r#"{{"name":"{name}","image":{image},"app":{{"exec":["/x"],"user":"0","group":"0"}}}}"#)
        };
        let manifest =
            format!(r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{},{}]}}"#, app("a"), app("b"));
        fs::write(pod.path().join("pod"), manifest).unwrap();
        pod
    }

    fn path(&self) -> PathBuf {
        self.pods.path(Stage::Run, self.uuid)
    }

    fn found(&self) -> FoundPod {
        self.pods.open(self.uuid, Stage::Run).unwrap().unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join("logs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.file(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn logs(&self, query: LogQuery) -> Logs {
        Logs::open(&self.found(), query).unwrap()
    }
}

/// A record of the second `second`.
fn record(second: u64, rest: &str) -> String {
    format!("1970-01-01T00:00:{second:02}.5Z {rest}\n")
}

fn rest(logs: &mut Logs) -> Vec<String> {
    let next = || logs.next_line().unwrap();
    std::iter::from_fn(next).map(|line| String::from_utf8(line.text).unwrap()).collect()
}

fn at(milliseconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds))
}

#[test]
fn a_record_has_time_stream_tag_and_text() {
    let parsed = Record::parse(b"1970-01-01T00:00:01.5Z stderr P a b ").unwrap();

    assert_eq!(Some(parsed.time), at(1500));
    assert_eq!((parsed.stream, parsed.is_whole, parsed.text), (LogStream::Stderr, false, &b"a b "[..]));
    assert!(Record::parse(b"1970-01-01T00:00:01.5Z stdout F:x ").unwrap().is_whole);
    for broken in ["", "now stdout F x", "1970-01-01T00:00:01Z stdin F x", "1970-01-01T00:00:01Z stdout F"] {
        assert_eq!(Record::parse(broken.as_bytes()), None, "{broken:?}");
    }
}

#[test]
fn files_that_were_put_aside_are_read_first_and_pieces_joined() {
    let pod = TestPod::new();
    pod.append("a.log.2", &record(1, "stdout F first"));
    pod.append("a.log.1", &(record(2, "stdout P sec") + &record(2, "stderr F between")));
    pod.append("a.log", &(record(3, "stdout F ond") + &record(4, "stdout F third")));

    let mut logs = pod.logs(LogQuery { apps: vec!["a".into()], ..LogQuery::default() });

    assert_eq!(rest(&mut logs), ["first", "between", "second", "third"]);
}

#[test]
fn apps_are_merged_by_time_and_one_can_be_chosen() {
    let pod = TestPod::new();
    pod.append("a.log", &(record(1, "stdout F a1") + &record(4, "stdout F a4")));
    pod.append("b.log", &(record(2, "stdout F b2") + &record(3, "stdout F b3")));

    assert_eq!(rest(&mut pod.logs(LogQuery::default())), ["a1", "b2", "b3", "a4"]);
    let only = LogQuery { apps: vec!["b".into()], ..LogQuery::default() };
    assert_eq!(rest(&mut pod.logs(only)), ["b2", "b3"]);
    let other = LogQuery { apps: vec!["c".into()], ..LogQuery::default() };
    assert!(Logs::open(&pod.found(), other).unwrap_err().to_string().starts_with("no app \"c\" in pod"));
}

#[test]
fn lines_are_chosen_by_time_and_the_last_of_these_by_number() {
    let pod = TestPod::new();
    for second in 1..7 {
        pod.append("a.log", &record(second, &format!("stdout F {second}")));
    }

    let period = LogQuery { since: at(2500), until: at(5500), ..LogQuery::default() };
    assert_eq!(rest(&mut pod.logs(period.clone())), ["2", "3", "4", "5"]);
    let last = LogQuery { last: Some(2), ..period };
    assert_eq!(rest(&mut pod.logs(last)), ["4", "5"]);
    let none = LogQuery { last: Some(0), ..LogQuery::default() };
    let mut logs = pod.logs(none);
    assert_eq!(rest(&mut logs), [""; 0]);
    pod.append("a.log", &record(7, "stdout F 7"));
    assert_eq!(rest(&mut logs), ["7"], "what comes later is not among those that were there");
}

#[test]
fn a_reader_that_follows_misses_nothing_when_logs_are_put_aside() {
    let pod = TestPod::new();
    let mut logs = pod.logs(LogQuery::default());
    assert_eq!(rest(&mut logs), [""; 0]);
    assert!(!logs.any_found());
    pod.append("a.log", &record(1, "stdout F 1"));
    assert_eq!(rest(&mut logs), ["1"]);

    pod.append("a.log", &record(2, "stdout F 2"));
    fs::rename(pod.file("a.log"), pod.file("a.log.1")).unwrap();
    assert_eq!(rest(&mut logs), ["2"], "between the renaming and the new file");
    pod.append("a.log", &record(3, "stdout F 3"));
    fs::rename(pod.file("a.log.1"), pod.file("a.log.2")).unwrap();
    fs::rename(pod.file("a.log"), pod.file("a.log.1")).unwrap();
    pod.append("a.log", &record(4, "stdout F 4"));

    assert_eq!(rest(&mut logs), ["3", "4"]);
    assert!(logs.any_found());
}

#[test]
fn half_a_record_waits_for_the_other_half_or_for_being_taken_back() {
    let pod = TestPod::new();
    let mut logs = pod.logs(LogQuery::default());
    let whole = record(1, "stdout F one");
    let (half, other) = whole.split_at(30);

    pod.append("a.log", half);
    assert_eq!(rest(&mut logs), [""; 0]);
    pod.append("a.log", other);
    assert_eq!(rest(&mut logs), ["one"]);
    pod.append("a.log", half);
    assert_eq!(rest(&mut logs), [""; 0]);
    let length = u64::try_from(whole.len()).unwrap();
    OpenOptions::new().write(true).open(pod.file("a.log")).unwrap().set_len(length).unwrap();
    pod.append("a.log", &record(2, "stdout F two"));

    assert_eq!(rest(&mut logs), ["two"]);
}

#[test]
fn what_is_no_record_is_shown_as_it_is() {
    let pod = TestPod::new();
    pod.append("a.log", &(record(1, "stdout F one") + "scribble\n"));

    assert_eq!(rest(&mut pod.logs(LogQuery::default())), ["one", "scribble"]);
}

#[test]
fn a_line_without_end_comes_in_pieces() {
    let pod = TestPod::new();
    let piece = format!("stdout P {}", "x".repeat(16 * 1024));
    for _ in 0..40 {
        pod.append("a.log", &record(1, &piece));
    }

    let lengths: Vec<usize> = rest(&mut pod.logs(LogQuery::default())).iter().map(String::len).collect();

    assert_eq!(lengths, [256 * 1024, 256 * 1024]);
}

#[test]
fn a_log_that_is_no_file_is_refused() {
    let pod = TestPod::new();
    fs::create_dir(pod.file("a.log")).unwrap();

    assert!(pod.logs(LogQuery::default()).next_line().is_err());
}

#[test]
fn following_ends_with_the_pod() {
    let pod = TestPod::new();
    pod.append("a.log", &record(1, "stdout F one"));
    let mut lines = 0;

    // The pod has exited: nobody holds its lock.
    pod.logs(LogQuery::default())
        .follow(&pod.pods, pod.found(), |line| {
            lines += usize::from(line.is_some());
            ControlFlow::Continue(())
        })
        .unwrap();

    assert_eq!(lines, 1);
}

//! What apps print and how they end, as it arrives on rkt's own streams and in its exit code.

use crate::pod::{INSPECT, Pod, brief, labelled, said};
use rkt_tests::command::limit;

#[test]
fn an_app_prints_on_both_streams_and_its_code_is_rkts() {
    let mut pod = Pod::inspect(&["print-msg", "to stdout", "print-err", "to stderr", "exit", "42"]);

    let output = pod.finish().expect_code(42);

    assert_eq!(said(&output.stdout, "inspect"), ["to stdout"]);
    assert!(output.err().lines().any(|line| line.ends_with(": to stderr")), "{output:?}");
    assert_eq!(pod.status_value(&pod.uuid, "app-inspect").as_deref(), Some("42"));
}

#[test]
fn an_app_that_ends_with_0_ends_rkt_with_0() {
    Pod::inspect(&["print-msg", "done"]).finish().expect_code(0);
}

#[test]
fn an_app_killed_by_a_signal_ends_rkt_with_the_signals_number() {
    // The shell kills itself: a process may always signal its own ID.
    let mut pod = Pod::start(&["example.com/busybox", "--", "-c", "kill -9 $$"]);

    pod.finish().expect_code(9);
}

#[test]
fn lines_of_two_apps_are_never_mixed() {
    let lines = ["--", "lines", "100", "3", "---"];
    let apps = [&[INSPECT, "--name=one"], &lines[..], &[INSPECT, "--name=two"], &lines[..]].concat();

    let output = Pod::start(&apps).finish().expect_code(0);

    for app in ["one", "two"] {
        let expected = |parity: u32| -> Vec<String> {
            let indices = (0..100).filter(|index| index % 2 == parity);
            indices.map(|index| format!("line {index} first-half-second-half")).collect()
        };
        assert_eq!(said(&output.stdout, app), expected(0), "{output:?}");
        assert_eq!(said(&output.stderr, app), expected(1), "{output:?}");
    }
}

#[test]
fn a_last_line_without_a_newline_arrives() {
    let mut pod = Pod::start(&["example.com/busybox", "--", "-c", "printf 'no newline'"]);

    let output = pod.finish().expect_code(0);

    assert_eq!(said(&output.stdout, "busybox"), ["no newline"]);
}

#[test]
fn a_line_of_a_hundred_thousand_bytes_arrives_whole() {
    let script = "head -c 100000 /dev/zero | tr '\\0' x";

    let output = Pod::start(&["example.com/busybox", "--", "-c", script]).finish().expect_code(0);

    let text: String = said(&output.stdout, "busybox").concat();
    assert_eq!(text.len(), 100_000);
    assert!(text.bytes().all(|byte| byte == b'x'));
}

#[test]
fn fifty_megabytes_arrive_without_losing_a_byte() {
    const BYTES: usize = 50_000_000;
    const LINE: usize = 1_000;
    let (bytes, line) = (BYTES.to_string(), LINE.to_string());

    let output = Pod::inspect(&["flood", &bytes, &line]).finish_within(limit(35)).expect_code(0);

    let text = String::from_utf8(output.stdout).expect("only digits and labels");
    let mut lines = 0;
    for (index, line) in text.lines().enumerate() {
        let (_, said) = labelled(line);
        assert_eq!(said.len(), LINE - 1, "line {index} has another length");
        assert_eq!(said.parse::<usize>().ok(), Some(index), "line {index} is missing or out of order");
        lines += 1;
    }
    assert_eq!(lines, BYTES / LINE);
}

#[test]
fn an_app_that_writes_nothing_ends_without_output() {
    let output = Pod::inspect(&["exit", "0"]).finish_within(brief()).expect_code(0);

    assert_eq!(output.out(), "");
}

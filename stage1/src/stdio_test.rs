use std::time::Duration;

use super::stdio::*;

const UPTIME: Duration = Duration::from_micros(1_000_042);

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8(line.bytes.clone()).unwrap()).collect()
}

#[test]
fn line_carries_uptime_app_and_pid() {
    let lines = LineAssembler::new("redis", 17).push(b"ready\n", UPTIME);

    assert_eq!(texts(&lines), ["[    1.000042] redis[17]: ready\n"]);
}

#[test]
fn line_waits_for_its_newline() {
    let mut assembler = LineAssembler::new("a", 1);

    assert!(assembler.push(b"he", UPTIME).is_empty());
    let lines = assembler.push(b"llo\nwor", UPTIME);

    assert_eq!(texts(&lines), ["[    1.000042] a[1]: hello\n"]);
    assert_eq!(lines[0].stream_bytes, 6);
}

#[test]
fn end_of_stream_flushes_the_partial_line_with_a_newline() {
    let mut assembler = LineAssembler::new("a", 1);
    assembler.push(b"no newline", UPTIME);

    let line = assembler.finish(UPTIME).unwrap();

    assert_eq!(line.bytes, b"[    1.000042] a[1]: no newline\n");
    assert_eq!(line.stream_bytes, 10);
    assert_eq!(assembler.finish(UPTIME), None);
}

#[test]
fn empty_lines_are_lines() {
    let lines = LineAssembler::new("a", 1).push(b"\n\n", UPTIME);

    assert_eq!(lines.len(), 2);
}

#[test]
fn endless_line_is_cut_at_the_limit_and_nothing_is_lost() {
    let mut assembler = LineAssembler::new("a", 1);
    let data: Vec<u8> = (0..MAX_LINE_BYTES * 2 + 5).map(|i| b'a' + (i % 26) as u8).collect();
    let prefix = "[    1.000042] a[1]: ".len();

    let mut lines = assembler.push(&data, UPTIME);
    assert_eq!(lines.len(), 2);
    lines.extend(assembler.finish(UPTIME));

    let joined: Vec<u8> =
        lines.iter().flat_map(|line| line.bytes[prefix..line.bytes.len() - 1].to_vec()).collect();
    assert_eq!(joined, data);
}

#[test]
fn stream_bytes_of_all_lines_add_up_to_the_stream() {
    let mut assembler = LineAssembler::new("a", 1);
    let data = b"one\ntwo\n\nthree";

    let mut total = 0;
    for chunk in data.chunks(3) {
        total += assembler.push(chunk, UPTIME).iter().map(|line| line.stream_bytes).sum::<u32>();
    }
    total += assembler.finish(UPTIME).unwrap().stream_bytes;

    assert_eq!(total as usize, data.len());
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let lines = LineAssembler::new("a", 1).push(b"\xff\x00\x1b[31m\n", UPTIME);

    assert!(lines[0].bytes.ends_with(b": \xff\x00\x1b[31m\n"));
}

#[test]
fn raw_stream_passes_byte_by_byte_as_it_comes() {
    let mut assembler = LineAssembler::raw();

    let lines = assembler.push(b"$ \x1b[1mls", UPTIME);

    assert_eq!(lines, [Line { bytes: b"$ \x1b[1mls".to_vec(), stream_bytes: 8 }]);
    assert_eq!(assembler.finish(UPTIME), None);
}

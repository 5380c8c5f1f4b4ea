use std::time::Duration;

use super::stdio::*;

const UPTIME: Duration = Duration::from_micros(1_000_042);

/// A line's bytes.
type Whole = Vec<u8>;

fn split(text: &[u8]) -> Vec<Whole> {
    text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The lines that come, and the bytes of the stream that they stand for.
fn push_counted(assembler: &mut LineAssembler, data: &[u8]) -> (Vec<Whole>, u32) {
    let mut text = Vec::new();
    let bytes = assembler.push(data, UPTIME, &mut text);
    (split(&text), bytes)
}

fn push(assembler: &mut LineAssembler, data: &[u8]) -> Vec<Whole> {
    push_counted(assembler, data).0
}

fn finish(assembler: &mut LineAssembler) -> Option<(Whole, u32)> {
    let mut text = Vec::new();
    let bytes = assembler.finish(UPTIME, &mut text);
    (!text.is_empty()).then_some((text, bytes))
}

fn texts(lines: &[Whole]) -> Vec<String> {
    lines.iter().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect()
}

#[test]
fn line_carries_uptime_app_and_pid() {
    let lines = push(&mut LineAssembler::new("redis", 17), b"ready\n");

    assert_eq!(texts(&lines), ["[    1.000042] redis[17]: ready\n"]);
}

#[test]
fn line_waits_for_its_newline() {
    let mut assembler = LineAssembler::new("a", 1);

    assert!(push(&mut assembler, b"he").is_empty());
    let (lines, bytes) = push_counted(&mut assembler, b"llo\nwor");

    assert_eq!(texts(&lines), ["[    1.000042] a[1]: hello\n"]);
    assert_eq!(bytes, 6);
}

#[test]
fn end_of_stream_flushes_the_partial_line_with_a_newline() {
    let mut assembler = LineAssembler::new("a", 1);
    push(&mut assembler, b"no newline");

    let line = finish(&mut assembler).unwrap();

    assert_eq!(line.0, b"[    1.000042] a[1]: no newline\n");
    assert_eq!(line.1, 10);
    assert_eq!(finish(&mut assembler), None);
}

#[test]
fn empty_lines_are_lines() {
    let lines = push(&mut LineAssembler::new("a", 1), b"\n\n");

    assert_eq!(lines.len(), 2);
}

#[test]
fn endless_line_is_cut_at_the_limit_and_nothing_is_lost() {
    let mut assembler = LineAssembler::new("a", 1);
    let data: Vec<u8> = (0..MAX_LINE_BYTES * 2 + 5).map(|i| b'a' + (i % 26) as u8).collect();
    let prefix = "[    1.000042] a[1]: ".len();

    let mut lines = push(&mut assembler, &data);
    assert_eq!(lines.len(), 2);
    lines.extend(finish(&mut assembler).map(|(line, _)| line));

    let joined: Vec<u8> = lines.iter().flat_map(|bytes| bytes[prefix..bytes.len() - 1].to_vec()).collect();
    assert_eq!(joined, data);
}

#[test]
fn stream_bytes_of_all_lines_add_up_to_the_stream() {
    let mut assembler = LineAssembler::new("a", 1);
    let data = b"one\ntwo\n\nthree";

    let mut total = 0;
    for chunk in data.chunks(3) {
        total += push_counted(&mut assembler, chunk).1;
    }
    total += finish(&mut assembler).unwrap().1;

    assert_eq!(total as usize, data.len());
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let lines = push(&mut LineAssembler::new("a", 1), b"\xff\x00\x1b[31m\n");

    assert!(lines[0].ends_with(b": \xff\x00\x1b[31m\n"));
}

#[test]
fn raw_stream_passes_byte_by_byte_as_it_comes() {
    let mut assembler = LineAssembler::raw();

    let lines = push_counted(&mut assembler, b"$ \x1b[1mls");

    assert_eq!(lines, (vec![b"$ \x1b[1mls".to_vec()], 8));
    assert_eq!(finish(&mut assembler), None);
}

use std::fs::File;
use std::io::{Read, Seek};

use log::{Level, Log, Record};

use crate::logger::Logger;

/// A logger, and the file it writes to.
fn logger() -> (Logger, File) {
    let path = std::env::temp_dir().join(format!(
        "vmm-logger-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    (Logger::new(file.try_clone().unwrap(), b"\x01"), file)
}

fn written(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn say(logger: &Logger, line: u32, text: &str) {
    let mut record = Record::builder();
    record.level(Level::Error).file_static(Some("queue.rs")).line(Some(line));
    logger.log(&record.args(format_args!("{text}")).build());
}

#[test]
fn each_place_says_ten_messages_and_the_rest_of_the_window_is_silent() {
    let (logger, mut file) = logger();

    for number in 0..1000 {
        say(&logger, 7, &format!("index {number}"));
    }
    say(&logger, 8, "something else");

    let text = written(&mut file);
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.starts_with("\x01index 0\n\x01index 1\n"), "{text}");
    assert!(text.ends_with("\x01index 9\n\x01something else\n"), "{text}");
}

#[test]
fn the_next_window_tells_what_was_not_said() {
    let (logger, _file) = logger();
    let now = std::time::Instant::now();
    let silent = (0..1000).filter(|_| logger.admit(("queue.rs", 7), now).is_none()).count();

    let later = logger.admit(("queue.rs", 7), now + std::time::Duration::from_secs(6));

    assert_eq!((silent, later), (990, Some(990)));
}

#[test]
fn a_message_is_one_line_that_a_pipe_takes_whole() {
    let (logger, mut file) = logger();

    say(&logger, 1, "two\nlines");
    say(&logger, 2, &"long ".repeat(1000));

    let text = written(&mut file);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "\x01two lines\n");
    assert_eq!((lines[1].len(), lines[1].ends_with('\n')), (512, true));
}

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use guest_api::WindowSize;
use rustix::termios::{InputModes, tcgetattr, tcgetwinsize};

use super::input::Input;
use super::output::{Relayed, Stream};
use super::output_test::{data, relay};
use super::pty::{Terminal, UserSide};
use super::root_dir::RootDir;

/// The machine's own terminals; in a VM they are those of every app.
const MULTIPLEXER: &str = "/dev/ptmx";

fn open() -> (Terminal, UserSide) {
    Terminal::open(MULTIPLEXER, WindowSize { rows: 24, columns: 80 }).unwrap()
}

fn size(terminal: impl AsFd) -> (u16, u16) {
    let size = tcgetwinsize(terminal).unwrap();
    (size.ws_row, size.ws_col)
}

/// A handle on what the process would get as its descriptors.
fn device(user_side: &UserSide) -> OwnedFd {
    user_side.as_fd().try_clone_to_owned().unwrap()
}

fn read(descriptor: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let count = rustix::io::read(descriptor, bytes.as_mut_slice()).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn process_sees_the_size_that_the_host_gave_and_every_later_one() {
    let (terminal, user_side) = open();

    assert_eq!(size(&user_side), (24, 80));
    terminal.resize(WindowSize { rows: 50, columns: 132 }).unwrap();
    assert_eq!(size(&user_side), (50, 132));
}

#[test]
fn erase_key_deletes_whole_characters() {
    let (_terminal, user_side) = open();

    assert!(tcgetattr(&user_side).unwrap().input_modes.contains(InputModes::IUTF8));
}

#[test]
fn line_that_is_typed_arrives_and_is_echoed() {
    let (terminal, user_side) = open();
    let mut input = Input::terminal(terminal.controller().unwrap()).unwrap();
    let mut output = Stream::terminal(terminal.controller().unwrap()).unwrap();

    input.accept(b"hello\n").unwrap();

    assert_eq!(read(&device(&user_side)), b"hello\n");
    assert_eq!(relay(&mut output), data(b"hello\r\n"));
}

#[test]
fn end_of_the_hosts_input_leaves_a_terminal_open() {
    let (terminal, user_side) = open();
    let mut input = Input::terminal(terminal.controller().unwrap()).unwrap();

    input.finish();
    input.accept(b"more\n").unwrap();

    assert_eq!(read(&device(&user_side)), b"more\n");
}

#[test]
fn output_ends_after_its_last_byte_when_nobody_has_the_terminal_any_more() {
    let (mut terminal, user_side) = open();
    let mut output = Stream::terminal(terminal.controller().unwrap()).unwrap();
    rustix::io::write(device(&user_side), b"bye").unwrap();

    drop(user_side);
    assert_eq!(relay(&mut output), data(b"bye"));
    assert_eq!(relay(&mut output).0, Relayed::Empty);
    terminal.leave_to_descendants();

    assert_eq!(relay(&mut output).0, Relayed::End);
    assert_eq!(relay(&mut output).0, Relayed::Closed);
}

#[test]
fn terminal_that_a_descendant_holds_owes_what_was_written_and_no_more() {
    let (mut terminal, user_side) = open();
    let mut output = Stream::terminal(terminal.controller().unwrap()).unwrap();
    rustix::io::write(device(&user_side), b"last words").unwrap();

    terminal.leave_to_descendants();
    output.owe_what_is_there().unwrap();

    assert!(!output.owes_nothing());
    assert_eq!(relay(&mut output), data(b"last words"));
    assert_eq!(relay(&mut output).0, Relayed::Empty);
    assert!(output.owes_nothing());
}

#[test]
fn terminal_that_is_nobodys_has_no_foreground() {
    let (terminal, _user_side) = open();

    assert_eq!(terminal.foreground(), None);
}

#[test]
fn terminal_is_opened_under_the_name_that_programs_look_for() {
    let (_terminal, user_side) = open();
    let root = RootDir::open(Path::new("/")).unwrap();

    let named = user_side.open_by_name(&root).unwrap();

    let name = rustix::termios::ttyname(&named, Vec::new()).unwrap();
    assert!(name.to_bytes().starts_with(b"/dev/pts/"), "{name:?}");
}

#[test]
fn something_else_under_the_terminals_name_is_not_taken_for_it() {
    let (_terminal, user_side) = open();
    let image = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(image.path().join("dev/pts")).unwrap();
    for number in 0..64 {
        std::fs::write(image.path().join(format!("dev/pts/{number}")), "trap").unwrap();
    }

    assert!(user_side.open_by_name(&RootDir::open(image.path()).unwrap()).is_none());
}

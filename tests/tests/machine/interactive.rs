//! `--interactive`: the one app of a pod has rkt's terminal, or its pipes.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rkt_tests::terminal::Terminal;

use crate::pod::rkt;

fn run(arguments: &[&str]) -> Command {
    rkt().command([&["run", "--interactive", "--net=none", "example.com/busybox"], arguments].concat())
}

#[test]
fn an_app_on_a_terminal_behaves_as_if_it_were_here() {
    let mut terminal = Terminal::start(run(&["--", "-i"]));
    terminal.resize(40, 100);
    terminal.wait_for("#", 1);

    terminal.type_line("echo size $(stty size), $((40 + 2))");
    terminal.wait_for("size 40 100, 42", 1);
    terminal.resize(50, 132);
    terminal.type_line("sleep 1; echo now $(stty size)");
    terminal.wait_for("now 50 132", 1);
    terminal.type_line("exit 5");

    let (code, screen) = terminal.finish();
    assert_eq!(code, 5, "{screen}");
    assert!(!screen.contains("busybox["), "labels on a terminal: {screen}");
}

#[test]
fn the_escape_keys_end_the_pod() {
    for keys in [&b"\x1d\x1d\x1d"[..], b"\x01x"] {
        let mut terminal =
            Terminal::start(run(&["--", "-c", "trap '' TERM HUP INT; echo ready; sleep 100000"]));
        terminal.wait_for("ready", 1);

        terminal.type_keys(keys);

        let (code, screen) = terminal.finish();
        assert_eq!(code, 9, "{screen}");
    }
}

#[test]
fn without_a_terminal_input_is_piped_through_and_its_end_is_the_apps() {
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| (index * 7 + index / 251) as u8).collect();
    let mut child = run(&["--", "-c", "cat; exit 6"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rkt starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).expect("the app reads")
    });

    let mut received = Vec::new();
    child.stdout.take().expect("stdout is piped").read_to_end(&mut received).expect("reading");

    writer.join().expect("the writer does not panic");
    assert_eq!(child.wait().expect("waiting").code(), Some(6));
    assert!(received == sent, "{} of {} bytes came back, or other ones", received.len(), sent.len());
}

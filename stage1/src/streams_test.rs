use appc::RuntimeApp;
use guest_api::{Endpoint, StdioStream, WindowSize};

use super::streams::{Mode, StreamError, Streams};

fn app(annotations: &[(&str, &str)]) -> RuntimeApp {
    let annotations: Vec<_> = annotations
        .iter()
        .map(|(stream, value)| {
            serde_json::json!({"name": format!("coreos.com/rkt/stage2/{stream}"), "value": value})
        })
        .collect();
    let id = format!("sha512-{}", "0".repeat(128));
    serde_json::from_value(serde_json::json!({"name": "a", "image": {"id": id}, "annotations": annotations}))
        .unwrap()
}

fn streams(annotations: &[(&str, &str)], interactive: bool) -> Result<Streams, StreamError> {
    Streams::of(&app(annotations), interactive)
}

#[test]
fn an_app_without_annotations_has_no_input_and_a_log_or_rkts_own_streams() {
    let own = Mode::Interactive;

    assert_eq!(streams(&[], false), Ok(Streams::LOG));
    assert_eq!(streams(&[], true), Ok(Streams { stdin: own, stdout: own, stderr: own }));
    assert_eq!(
        streams(&[("stdout", "log")], true),
        Ok(Streams { stdin: own, stdout: Mode::Log, stderr: own })
    );
}

#[test]
fn every_mode_has_its_endpoint_in_the_guest() {
    let size = WindowSize { rows: 1, columns: 2 };
    let mix = streams(&[("stdin", "tty"), ("stdout", "stream"), ("stderr", "null")], false).unwrap();
    let own = streams(&[("stdin", "interactive"), ("stdout", "interactive")], false).unwrap();

    let mixed = mix.in_guest(Some(size));
    let terminal = own.in_guest(Some(size));
    let pipes = own.in_guest(None);

    use Endpoint::{Null, Pipe, Terminal};
    assert_eq!((mixed.stdin, mixed.stdout, mixed.stderr), (Terminal, Pipe, Null));
    assert_ne!(mixed.terminal_size, size);
    assert_eq!((terminal.stdin, terminal.stdout, terminal.stderr), (Terminal, Terminal, Pipe));
    assert_eq!(terminal.terminal_size, size);
    assert_eq!((pipes.stdin, pipes.stdout, pipes.stderr), (Pipe, Pipe, Pipe));
}

#[test]
fn the_echo_of_a_terminal_goes_to_its_user() {
    let attachable = streams(&[("stdin", "tty"), ("stdout", "null")], false).unwrap();
    let own = streams(&[("stdin", "interactive"), ("stdout", "null")], false).unwrap();

    assert_eq!(attachable.destination(StdioStream::Stdout), Mode::Tty);
    assert_eq!(attachable.destination(StdioStream::Stderr), Mode::Log);
    assert_eq!(own.destination(StdioStream::Stdout), Mode::Interactive);
}

#[test]
fn values_that_are_no_mode_of_the_stream_are_refused_by_name() {
    let input = streams(&[("stdin", "log")], false).unwrap_err();
    let output = streams(&[("stderr", "file")], false).unwrap_err();
    let two = streams(&[("stdin", "interactive"), ("stdout", "tty")], false).unwrap_err();

    assert_eq!(
        input.to_string(),
        "annotation coreos.com/rkt/stage2/stdin is \"log\" (want null, stream, tty or interactive)"
    );
    assert_eq!(
        output.to_string(),
        "annotation coreos.com/rkt/stage2/stderr is \"file\" (want log, null, stream, tty or interactive)"
    );
    assert_eq!(
        two.to_string(),
        "annotation coreos.com/rkt/stage2/stdout is \"tty\", which no stream of an interactive app can be"
    );
}

use crate::{Endpoint, Stdio, StdioStream, WindowSize};

const SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

fn mix(stdin: Endpoint, stdout: Endpoint, stderr: Endpoint) -> Stdio {
    Stdio { stdin, stdout, stderr, terminal_size: SIZE }
}

#[test]
fn what_is_written_to_the_terminal_arrives_as_the_first_output_that_is_no_pipe() {
    use Endpoint::{Null, Pipe, Terminal};
    use StdioStream::{Stderr, Stdout};

    assert_eq!(Stdio::terminal(SIZE).terminal_stream(), Some(Stdout));
    assert_eq!(mix(Null, Pipe, Terminal).terminal_stream(), Some(Stderr));
    assert_eq!(mix(Terminal, Null, Pipe).terminal_stream(), Some(Stdout));
    assert_eq!(mix(Terminal, Pipe, Null).terminal_stream(), Some(Stderr));
    assert_eq!(mix(Terminal, Pipe, Pipe).terminal_stream(), None);
    assert_eq!(mix(Pipe, Null, Null).terminal_stream(), None);
}

#[test]
fn streams_are_pipes_and_the_terminals() {
    use Endpoint::{Null, Pipe, Terminal};
    use StdioStream::{Stderr, Stdout};

    assert_eq!(Stdio::LOG.streams(), [Stdout, Stderr]);
    assert_eq!(Stdio::terminal(SIZE).streams(), [Stdout]);
    assert_eq!(mix(Null, Pipe, Terminal).streams(), [Stdout, Stderr]);
    assert_eq!(mix(Terminal, Null, Pipe).streams(), [Stdout, Stderr]);
    assert_eq!(mix(Pipe, Null, Pipe).streams(), [Stderr]);
    assert_eq!(mix(Pipe, Null, Null).streams(), []);
    assert!(mix(Pipe, Null, Null).takes_input() && !Stdio::LOG.takes_input());
}

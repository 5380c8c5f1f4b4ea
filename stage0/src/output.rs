//! Text for stdout and stderr.
//!
//! Responsible for: whole lines in one write, and surviving a reader that went away. Must not know: what is said.
//! Follows rkt-reference.md 1.1, "stdout logger".

use std::io::Write;

/// Prints on stdout, with a newline at the end if there is none. A reader that stopped reading (`rkt list | head`) is
/// no error of ours, so a failed write is dropped.
pub fn print(text: &str) {
    drop(std::io::stdout().lock().write_all(with_newline(text).as_bytes()));
}

/// Prints on stderr in the same way.
pub fn complain(text: &str) {
    drop(std::io::stderr().lock().write_all(with_newline(text).as_bytes()));
}

fn with_newline(text: &str) -> String {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{newline}")
}

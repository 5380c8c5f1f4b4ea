//! What stage1 says to the person at the terminal.
//!
//! Responsible for: prefixes and error chains on standard error. Must not know: what went wrong. Follows rkt-reference 1.1
//! (stderr prefix, error chains).

use std::error::Error;
use std::io::Write;

/// Prefix of stage1's own lines.
pub const STAGE1: &str = "stage1";

/// Prefix of what the guest's kernel says.
pub const KERNEL: &str = "kernel";

/// Prefix of what the VMM says with `--debug`.
pub const VMM: &str = "VMM";

/// Prefix of what is said about networks.
pub const NETWORKING: &str = "networking";

/// Prints a line. Standard error is the last resort: a failure to write to it is nobody's to hear.
pub fn say(subsystem: &str, text: &str) {
    let _ = std::io::stderr().write_all(&line(subsystem, text));
}

/// A line as [`say`] prints it. A text may be a guest's, which has no say in what a terminal does.
pub fn line(subsystem: &str, text: &str) -> Vec<u8> {
    let mut line = format!("{subsystem}: ");
    for character in text.chars() {
        match character {
            '\n' | '\t' => line.push(character),
            other if other.is_control() => line.extend(other.escape_default()),
            other => line.push(other),
        }
    }
    line.push('\n');
    line.into_bytes()
}

/// Prints an error: its message and its innermost cause or, with `debug`, every cause in between.
pub fn complain(subsystem: &str, error: &dyn Error, debug: bool) {
    if debug {
        say(subsystem, &tree(error));
    } else {
        say(subsystem, &sentence(error));
    }
}

/// Message and innermost cause.
pub fn sentence(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let (message, cause) = (error.to_string(), innermost.to_string());
    if message == cause { message } else { format!("{message}: {cause}") }
}

/// The whole chain, one level a line.
fn tree(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut depth = 0;
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n{}└─{error}", "  ".repeat(depth)));
        depth += 1;
        cause = error.source();
    }
    text
}

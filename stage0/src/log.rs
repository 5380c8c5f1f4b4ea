//! Diagnostics on stderr: every line begins with the name of the command or subsystem that speaks.
//!
//! Responsible for: prefixes, the two renderings of an error chain, debug-only lines. Must not know: what any
//! command does, stdout. Follows rkt-reference.md 1.1 ("stderr prefix", "Error chains", "Debug-only chatter").

use std::error::Error;
use std::fmt::Display;

use crate::output;

/// Speaks on stderr for one command or subsystem.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    name: &'static str,
    debug: bool,
}

impl Log {
    /// `name` is the leaf command's name (`run`) or the subsystem's (`image`).
    pub const fn new(name: &'static str, debug: bool) -> Self {
        Log { name, debug }
    }

    /// The same verbosity under another name.
    pub const fn named(self, name: &'static str) -> Self {
        Log { name, ..self }
    }

    /// Whether `--debug` was given.
    pub const fn is_debug(self) -> bool {
        self.debug
    }

    /// Prints one diagnostic.
    pub fn print(self, message: impl Display) {
        output::complain(&for_terminal(&format!("{}: {message}", self.name)));
    }

    /// Prints a diagnostic that only `--debug` shows.
    pub fn debug(self, message: impl Display) {
        if self.debug {
            self.print(message);
        }
    }

    /// Repeats the diagnostics of another program, which has put its own name before them.
    pub fn repeat(self, text: &str) {
        output::complain(&for_terminal(text));
    }

    /// Prints an error: the message and its innermost cause, or the whole chain with `--debug`.
    pub fn error(self, error: &dyn Error) {
        self.print(render(error, self.debug));
    }
}

/// Text that cannot steer a terminal, whoever's words are quoted in it.
fn for_terminal(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// An error as a person reads it. Short: `message: innermost cause`. Complete: one level a line.
pub fn render(error: &dyn Error, complete: bool) -> String {
    let message = error.to_string();
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if complete {
        let mut text = message;
        for (level, cause) in causes.iter().enumerate() {
            text.push('\n');
            text.push_str(&"  ".repeat(level + 1));
            text.push_str("└─");
            text.push_str(cause);
        }
        return text;
    }
    match causes.last() {
        Some(innermost) => format!("{message}: {innermost}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::for_terminal;

    #[test]
    fn messages_do_not_steer_the_terminal() {
        assert_eq!(for_terminal("a\tb\n\u{1b}[2Jc\r\u{9b}d é"), "a\tb\n\u{fffd}[2Jc\u{fffd}\u{fffd}d é");
    }
}

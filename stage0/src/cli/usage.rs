//! Usage errors in rkt's words.
//!
//! Responsible for: turning clap's errors into the sentences users and scripts know. Must not know: exit codes.
//! Follows rkt-reference.md 1.1 ("Unknown command", "Bad flag") and pflag's messages.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::definition::takes_next_word;
use super::help;

/// One or more lines, without `Error: ` in front.
pub fn describe(error: &clap::Error) -> String {
    let argument = text(error, ContextKind::InvalidArg);
    let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            if flag.starts_with("--") {
                format!("unknown flag: {flag}")
            } else if let Some(shorthand) = flag.strip_prefix('-') {
                format!("unknown shorthand flag: '{shorthand}' in {flag}")
            } else {
                format!("unexpected argument {argument:?}")
            }
        }
        ErrorKind::InvalidValue if text(error, ContextKind::InvalidValue).is_empty() => {
            format!("flag needs an argument: {flag}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(error, ContextKind::InvalidValue);
            let cause = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
                (Some(cause), _) => format!(": {cause}"),
                (None, Some(ContextValue::Strings(words))) => {
                    let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                    format!(": must be one of {}", words.join(", "))
                }
                (None, _) => String::new(),
            };
            format!("invalid argument {value:?} for {flag}{cause}")
        }
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// The commands among `words`, as far as they are known: what an error that clap found in them belongs to.
pub fn path<'c>(root: &'c Command, words: &[String]) -> Vec<&'c str> {
    let mut path = Vec::new();
    let mut command = root;
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix("--") {
            let known = command.get_arguments().find(|arg| arg.get_long() == Some(flag));
            if known.is_some_and(takes_next_word) {
                words.next();
            }
        } else if !word.starts_with('-') {
            let Some(next) = help::resolve(command, word) else { break };
            path.push(next.get_name());
            command = next;
        }
    }
    path
}

/// What is said of a word that is none of `parent`'s commands, or the beginning of several. `name` is the parent's, from the
/// program's on.
pub fn unknown_command(error: &clap::Error, parent: &Command, name: &str) -> String {
    let word = text(error, ContextKind::InvalidSubcommand);
    let visible = |name: &str| parent.find_subcommand(name).is_some_and(|command| !command.is_hide_set());
    let mut meant: Vec<String> = parent
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .filter(|name| name.starts_with(&word))
        .collect();
    if let (true, Some(ContextValue::Strings(similar))) =
        (meant.is_empty(), error.get(ContextKind::SuggestedSubcommand))
    {
        meant.clone_from(similar);
    }
    meant.retain(|name| visible(name));
    let mut message = format!("unknown command {word:?} for {name:?}");
    if !meant.is_empty() {
        let lines: Vec<String> = meant.iter().map(|name| format!("\t{name}\n")).collect();
        message.push_str(&format!("\n\nDid you mean this?\n{}", lines.concat()));
    }
    message
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

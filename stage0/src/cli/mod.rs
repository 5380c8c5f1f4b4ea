//! The command line: what can be said to rkt, and how it is understood.
//!
//! Responsible for: parsing, help, usage errors, exit codes of both. Must not know: stores and pods. Follows
//! rkt-reference.md 1.

pub mod app_flags;
pub mod apps;
pub mod attach_mode;
pub mod definition;
pub mod egress;
pub mod flag;
pub mod globals;
pub mod help;
pub mod hypervisor;
pub mod insecure;
pub mod isolators;
pub mod launch_flags;
pub mod machine_flags;
pub mod option_list;
pub mod pod_flags;
pub mod port;
pub mod stdio;
pub mod usage;
pub mod values;
pub mod volume;

#[cfg(test)]
mod apps_test;
#[cfg(test)]
mod definition_test;
#[cfg(test)]
mod help_test;
#[cfg(test)]
mod launch_flags_test;

use clap::Parser;

use crate::commands::{self, Command};
use crate::log::Log;
use crate::output;
use apps::{AppList, Grammar};
use definition::definition;
use globals::GlobalFlags;

/// rkt's own failure, told apart from any app's exit code.
pub const EXIT_FAILURE: u8 = 254;
/// No command at all.
const EXIT_MISSING_COMMAND: u8 = 2;

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    name = "rkt",
    about = "rkt, the application container runner",
    long_about = "A CLI for running app containers on Linux, each pod in a virtual machine of its own.\n\nTo get the help on any specific command, run \"rkt help command\".",
    infer_subcommands = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true
)]
pub struct Cli {
    /// Flags that every command accepts.
    #[command(flatten)]
    pub globals: GlobalFlags,

    /// The command, unless none was given.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Runs the program and returns its exit code. `argv` begins with the program's name.
pub fn run(argv: Vec<std::ffi::OsString>) -> u8 {
    // From here on the user waits.
    crate::clock::process_start_ns();
    // The process that rkt starts to extract an archive is rkt under another name.
    if argv.first().is_some_and(|name| name == crate::extract::PROGRAM_NAME) {
        return crate::extract::run_extractor();
    }
    let mut words = Vec::with_capacity(argv.len());
    for argument in argv {
        match argument.into_string() {
            Ok(word) => words.push(word),
            Err(argument) => {
                return usage_error(&[], &format!("argument {argument:?} is not valid UTF-8"));
            }
        }
    }
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return clap_error(&words, &error),
    };
    let (cli, list) = match with_apps(&words, cli) {
        Ok(parsed) => parsed,
        Err((path, message)) => return usage_error(&path, &message),
    };
    let Some(command) = cli.command else {
        if cli.globals.help {
            return print_help(&[] as &[&str]);
        }
        Log::new("rkt", false).print("missing command");
        print_help(&[] as &[&str]);
        return EXIT_MISSING_COMMAND;
    };
    let path = command.path();
    if cli.globals.help {
        return print_help(&path);
    }
    if let Err(message) = command.check_operands() {
        return usage_error(&path, &message);
    }
    commands::dispatch(command, list, &cli.globals)
}

/// Parses the image list of the commands that take one. Pod flags found in it are given to clap once more, behind
/// the ones that preceded the first image, so that both come out of one definition.
fn with_apps(words: &[String], cli: Cli) -> Result<(Cli, AppList), (Vec<&'static str>, String)> {
    let Some((command, rest)) = cli.command.as_ref().and_then(|command| Some((command, command.rest()?)))
    else {
        return Ok((cli, AppList::default()));
    };
    let (path, name) = (command.path(), command.name());
    let root = definition();
    let grammar = Grammar {
        command: help::find(&root, &path),
        takes_app_flag: &|flag| commands::takes_app_flag(name, flag),
        app_arguments: commands::takes_app_arguments(name),
        operands: commands::operands_before_images(name),
    };
    let list = grammar.parse(rest).map_err(|message| (path.clone(), message))?;
    if list.pod_tokens.is_empty() {
        return Ok((cli, list));
    }
    let before = words.len().saturating_sub(rest.len());
    let mut again: Vec<&String> = words.iter().take(before).collect();
    if again.last().is_some_and(|word| *word == "--") {
        again.pop();
    }
    again.extend(&list.pod_tokens);
    let cli = Cli::try_parse_from(again).map_err(|error| (path, usage::describe(&error)))?;
    Ok((cli, list))
}

/// Prints a page on stdout. An unknown command gets the page of what is known of its path.
pub fn print_help(path: &[impl AsRef<str>]) -> u8 {
    output::print(&help::page(&definition(), path));
    0
}

/// A usage error of clap's, with the page of the command it happened in.
fn clap_error(words: &[String], error: &clap::Error) -> u8 {
    let root = definition();
    let path = usage::path(&root, words);
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
        let parent = std::iter::once("rkt").chain(path.iter().copied()).collect::<Vec<_>>().join(" ");
        let message = usage::unknown_command(error, help::find(&root, &path), &parent);
        output::complain(&format!("Error: {message}\nRun '{parent} --help' for usage."));
        return EXIT_FAILURE;
    }
    usage_error(&path, &usage::describe(error))
}

fn usage_error(path: &[&str], message: &str) -> u8 {
    output::complain(&format!("Error: {message}\n{}", help::page(&definition(), path)));
    EXIT_FAILURE
}

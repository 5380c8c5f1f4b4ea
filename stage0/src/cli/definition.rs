//! The whole command line, for those who describe it.
//!
//! Responsible for: every command with every flag it accepts, those of its apps included, and what of that users are shown.
//! Must not know: how anything is parsed or printed. Follows rkt-reference.md 1.1 to 1.6.

use clap::builder::{PossibleValuesParser, Resettable};
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;
use super::app_flags::AppFlags;
use crate::commands;

/// Under which title the published view has the flags that every command accepts.
const GLOBAL_OPTIONS: &str = "GLOBAL OPTIONS";

/// Every command with its own flags, those of the apps it takes, and the global ones.
pub fn definition() -> Command {
    let mut root = with_app_flags(Cli::command());
    root.build();
    root
}

fn with_app_flags(command: Command) -> Command {
    let flags = app_flags(command.get_name());
    command.args(flags).mut_subcommands(with_app_flags)
}

/// The flags that the command of this name accepts behind an image.
pub fn app_flags(command: &str) -> Vec<Arg> {
    let accepts = |arg: &&Arg| arg.get_long().is_some_and(|flag| commands::takes_app_flag(command, flag));
    AppFlags::command().get_arguments().filter(accepts).cloned().collect()
}

/// Whether the command of this name takes a list of images.
pub fn takes_images(command: &str) -> bool {
    !app_flags(command).is_empty()
}

/// What users are shown, in the simplest words of clap's: nothing hidden, and flags whose value may be left out do not take the
/// next word. Completion scripts and manual pages are made of it.
pub fn published() -> Command {
    let root = definition();
    let globals: Vec<&str> = root.get_arguments().map(|arg| arg.get_id().as_str()).collect();
    let names: Vec<&str> = visible(&root).map(name).collect();
    let mut published = publish(&root, &globals, &names);
    published.set_bin_name("rkt");
    published.build();
    published
}

fn publish(command: &Command, globals: &[&str], all_commands: &[&'static str]) -> Command {
    let mut published = Command::new(name(command))
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true);
    if let Some(about) = command.get_about() {
        published = published.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        published = published.long_about(about.clone());
    }
    if let Some(usage) = command.get_overridden_usage() {
        published = published.override_usage(format!("rkt {usage}"));
    }
    let mut args: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    args.sort_by_key(|arg| arg.get_long());
    for (order, arg) in args.into_iter().enumerate() {
        let mut arg = if takes_next_word(arg) || arg.is_positional() { arg.clone() } else { plain(arg) };
        arg = arg.global(false).display_order(order);
        if globals.contains(&arg.get_id().as_str()) && command.get_name() != "rkt" {
            arg = arg.help_heading(GLOBAL_OPTIONS);
        }
        if arg.is_positional() && command.get_name() == "help" {
            arg = arg.value_parser(PossibleValuesParser::new(all_commands.iter().copied()));
        }
        published = published.arg(arg);
    }
    published.subcommands(visible(command).map(|command| publish(command, globals, all_commands)))
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

/// clap keeps names that the program was compiled with. A process that describes its command line does so once and ends, so
/// the few bytes are not missed.
fn name(command: &Command) -> &'static str {
    command.get_name().to_owned().leak()
}

/// The same flag without a value.
fn plain(arg: &Arg) -> Arg {
    arg.clone()
        .action(ArgAction::SetTrue)
        .num_args(0)
        .require_equals(false)
        .value_parser(clap::value_parser!(bool))
        .default_value(Resettable::Reset)
        .default_missing_value(Resettable::Reset)
}

/// Whether the word behind the flag is its value.
pub fn takes_next_word(arg: &Arg) -> bool {
    arg.get_action().takes_values() && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
}

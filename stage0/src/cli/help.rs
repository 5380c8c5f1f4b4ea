//! `rkt help`: the pages for the program and for each command.
//!
//! Responsible for: their sections and alignment, made from the command definitions. Must not know: what a flag
//! does. Follows rkt-reference.md 1.1, "Help".

use clap::{Arg, Command};

use crate::table;

/// The command of this path, as far as there is one.
pub fn find<'c>(root: &'c Command, path: &[impl AsRef<str>]) -> &'c Command {
    let mut command = root;
    for name in path {
        match resolve(command, name.as_ref()) {
            Some(next) => command = next,
            None => break,
        }
    }
    command
}

/// The command of this name below `parent`, or the only one whose name begins so.
pub fn resolve<'c>(parent: &'c Command, name: &str) -> Option<&'c Command> {
    if let Some(exact) = parent.find_subcommand(name) {
        return Some(exact);
    }
    let mut matches = parent.get_subcommands().filter(|command| command.get_name().starts_with(name));
    let first = matches.next()?;
    matches.next().is_none().then_some(first)
}

/// The page of the command of this path; of the program itself if the path is empty.
pub fn page(root: &Command, path: &[impl AsRef<str>]) -> String {
    let command = find(root, path);
    if std::ptr::eq(command, root) { program(root) } else { self::command(root, command) }
}

fn program(root: &Command) -> String {
    let mut text = head("rkt", &about(root), "rkt [command]");
    text.push_str(&format!("\nVERSION:\n\t{}\n", env!("CARGO_PKG_VERSION")));
    text.push_str(&commands("COMMANDS", root));
    text.push_str(&description(root));
    text.push_str(&options("OPTIONS", root.get_arguments().collect()));
    table::align(&text)
}

fn command(root: &Command, command: &Command) -> String {
    let usage = command.get_overridden_usage().map(ToString::to_string).unwrap_or_default();
    let mut text = head(command.get_name(), &about(command), &format!("rkt {usage}"));
    text.push_str(&commands("SUBCOMMANDS", command));
    text.push_str(&description(command));

    let globals: Vec<&Arg> = root.get_arguments().collect();
    let is_global = |arg: &Arg| globals.iter().any(|global| global.get_id() == arg.get_id());
    let own = command.get_arguments().filter(|arg| !is_global(arg));
    text.push_str(&options("OPTIONS", own.collect()));
    text.push_str(&options("GLOBAL OPTIONS", globals.clone()));
    table::align(&text)
}

fn head(name: &str, about: &str, usage: &str) -> String {
    format!("NAME:\n\t{name} - {about}\n\nUSAGE:\n\t{usage}\n")
}

/// What can be run below `parent`, at any depth.
fn commands(title: &str, parent: &Command) -> String {
    let mut found = Vec::new();
    collect_commands(parent, "", &mut found);
    if found.is_empty() {
        return String::new();
    }
    found.sort();
    let lines: Vec<String> = found.into_iter().map(|(name, about)| format!("\t{name}\t{about}\n")).collect();
    format!("\n{title}:\n{}", lines.concat())
}

fn collect_commands(parent: &Command, prefix: &str, found: &mut Vec<(String, String)>) {
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{prefix}{}", command.get_name());
        if command.has_subcommands() {
            collect_commands(command, &format!("{name} "), found);
        } else {
            found.push((name, about(command)));
        }
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn description(command: &Command) -> String {
    let Some(long) = command.get_long_about() else { return String::new() };
    let lines: Vec<String> = long.to_string().lines().map(|line| format!("\t{line}\n")).collect();
    format!("\nDESCRIPTION:\n{}", lines.concat())
}

fn options(title: &str, mut args: Vec<&Arg>) -> String {
    args.retain(|arg| !arg.is_hide_set() && arg.get_long().is_some());
    args.sort_by_key(|arg| arg.get_long());
    if args.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = args.into_iter().map(option).collect();
    format!("\n{title}:\n{}", lines.concat())
}

/// One line: three spaces, shorthand, `--name=DEFAULT`, a tab, what it does.
fn option(arg: &Arg) -> String {
    let shorthand = arg.get_short().map_or_else(|| "  ".to_owned(), |short| format!("-{short}"));
    let separator = if arg.get_short().is_some() { "," } else { " " };
    let default = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>();
    let default = default.join(",");
    let is_text =
        arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == "string"));
    let default = if is_text { format!("{default:?}") } else { default };
    let value_is_optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let default = match (arg.get_action().takes_values(), value_is_optional) {
        (false, _) => "[=false]".to_owned(),
        (true, true) => format!("[={default}]"),
        (true, false) => format!("={default}"),
    };
    let name = arg.get_long().unwrap_or_default();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("   {shorthand}{separator} --{name}{default}\t{help}\n")
}

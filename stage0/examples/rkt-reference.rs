//! What is known of rkt's command line, in forms other than `rkt help`: `rkt-reference man DIRECTORY` writes the manual
//! pages, `rkt-reference json` prints every command with every flag.
//!
//! A program of its own, so that rkt need not carry what makes manual pages. Nothing in it is written by hand: the pages and
//! the list come out of the definition that rkt itself parses with.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, Command};
use clap_mangen::Man;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["man", directory] => manual(Path::new(directory)),
        ["json"] => {
            println!("{}", list());
            Ok(())
        }
        _ => Err(io::Error::other("usage: rkt-reference man DIRECTORY | json")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rkt-reference: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A page for each command: `rkt.1`, `rkt-image.1`, `rkt-image-list.1` and so on.
fn manual(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    pages(&rkt::published_command_line(), "rkt", directory)
}

fn pages(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    for command in command.get_subcommands() {
        pages(command, &format!("{name}-{}", command.get_name()), directory)?;
    }
    let version = format!("rkt {}", env!("CARGO_PKG_VERSION"));
    let named = command.clone().display_name(name.to_owned().leak() as &str);
    // The same definition gives the same bytes, so there is no date; but what is empty would be left out.
    let page = Man::new(named).title(name.to_uppercase()).date(" ").source(version).manual("rkt");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)
}

/// Every command, hidden ones too.
fn list() -> Value {
    let root = rkt::command_line();
    let globals: Vec<&Arg> = root.get_arguments().collect();
    let mut commands = Vec::new();
    for command in root.get_subcommands() {
        collect(command, &mut Vec::new(), &globals, &mut commands);
    }
    json!({ "global_flags": globals.iter().map(|arg| flag(arg)).collect::<Vec<_>>(), "commands": commands })
}

fn collect<'c>(command: &'c Command, path: &mut Vec<&'c str>, globals: &[&Arg], found: &mut Vec<Value>) {
    path.push(command.get_name());
    let is_global = |arg: &Arg| globals.iter().any(|global| global.get_id() == arg.get_id());
    let own = command.get_arguments().filter(|arg| arg.get_long().is_some() && !is_global(arg));
    let ends_flags = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    found.push(json!({
        "path": path,
        "hidden": command.is_hide_set(),
        "is_group": command.has_subcommands(),
        // Behind its first operand a command takes either images, with flags among them, or somebody else's words.
        "takes_images": rkt::takes_images(command.get_name()),
        "takes_command": ends_flags && !rkt::takes_images(command.get_name()),
        "flags": own.map(flag).collect::<Vec<_>>(),
    }));
    for command in command.get_subcommands() {
        collect(command, path, globals, found);
    }
    path.pop();
}

fn flag(arg: &Arg) -> Value {
    let takes_values = arg.get_action().takes_values();
    let words: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    json!({
        "name": arg.get_long(),
        "short": arg.get_short(),
        "hidden": arg.is_hide_set(),
        "takes_next_word": takes_values && arg.get_num_args().is_none_or(|range| range.min_values() > 0),
        "words": if takes_values { words } else { Vec::new() },
    })
}

//! Which of rkt's commands, flags and values the tests use.
//!
//! Responsible for: finding them in the command lines that tests ran rkt with, the table of them, and what is missing in it.
//! Must not know: how tests are run, what a flag does. Follows the list that `rkt-reference json` makes out of the definition
//! that rkt parses with, so nothing is exempt and nothing can be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::tally::Tally;
use crate::process::text;
use crate::{reference, workspace};

/// Names the file to which a test appends the arguments of every rkt it starts, a JSON list a line.
pub(crate) const RECORD: &str = "RKT_TEST_COMMANDS";

/// How many of the tests that use a thing are named in the table.
const NAMED_TESTS: usize = 3;

/// Where the table goes, below `target/`.
const TABLE_FILE: &str = "coverage/command-line.md";

/// Everything that can be said to rkt.
#[derive(Debug, Deserialize)]
pub(crate) struct CommandLine {
    global_flags: Vec<Flag>,
    commands: Vec<Command>,
}

/// A command or a group of commands.
#[derive(Debug, Deserialize)]
struct Command {
    path: Vec<String>,
    /// Behind the first operand there are images, with flags among them.
    takes_images: bool,
    /// Behind the first operand there is somebody else's command.
    takes_command: bool,
    flags: Vec<Flag>,
}

#[derive(Debug, Deserialize)]
struct Flag {
    name: String,
    short: Option<char>,
    takes_next_word: bool,
    /// The values there are, if they are few.
    words: Vec<String>,
}

/// Something that can be used: a command, a flag of one, or a value of a flag. Global flags and values belong to no command.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Feature {
    command: Vec<String>,
    flag: Option<String>,
    value: Option<String>,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rkt")?;
        self.command.iter().try_for_each(|word| write!(f, " {word}"))?;
        self.flag.iter().try_for_each(|flag| write!(f, " --{flag}"))?;
        self.value.iter().try_for_each(|value| write!(f, "={value}"))
    }
}

/// A test that passed, and the arguments of each rkt that it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) test: String,
    pub(crate) commands: Vec<Vec<String>>,
}

/// Judges a whole run of the host tier: a feature that no test that passed uses is a failure of its own.
pub(crate) fn judge(tests: &[Recorded]) -> Result<Tally> {
    let command_line = CommandLine::of_rkt()?;
    let table = Table::of(&command_line, tests);
    let file = workspace::target().join(TABLE_FILE);
    fs::create_dir_all(file.parent().unwrap_or(&file)).context("cannot make a directory for the table")?;
    fs::write(&file, table.markdown()).with_context(|| format!("cannot write {}", file.display()))?;
    let missing = table.missing();
    let used = table.len().saturating_sub(missing.len());
    println!("  {used} of {} commands, flags and values are used by tests: {}", table.len(), file.display());
    let mut tally = Tally::default();
    for feature in missing {
        println!("  FAILED  no test uses `{feature}`");
        tally += Tally::of(false);
    }
    Ok(tally)
}

/// What a test left in the file that [`RECORD`] names.
pub(crate) fn read_record(file: &Path) -> Result<Vec<Vec<String>>> {
    let lines = fs::read_to_string(file).context("cannot read a test's commands")?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("cannot understand {line:?}"));
    lines.lines().map(parse).collect()
}

impl CommandLine {
    /// That of this checkout's rkt.
    fn of_rkt() -> Result<Self> {
        let list = text(reference::program()?.arg("json"))?;
        serde_json::from_str(&list).context("cannot understand rkt-reference's list")
    }

    /// Everything that can be used.
    pub(crate) fn features(&self) -> BTreeSet<Feature> {
        let mut features = BTreeSet::new();
        let words = |flag: &Flag| flag.words.iter().map(|word| value(flag, word)).collect::<Vec<_>>();
        for global in &self.global_flags {
            features.insert(Feature { flag: Some(global.name.clone()), ..Feature::default() });
            features.extend(words(global));
        }
        for command in &self.commands {
            features.insert(Feature { command: command.path.clone(), ..Feature::default() });
            for flag in &command.flags {
                features.insert(own(command, flag));
                features.extend(words(flag));
            }
        }
        features
    }

    /// What one command line, without the program's name, uses.
    pub(crate) fn used(&self, arguments: &[String]) -> BTreeSet<Feature> {
        let mut used = BTreeSet::new();
        let mut command: Option<&Command> = None;
        let mut words = arguments.iter();
        let mut operands = false;
        while let Some(word) = words.next() {
            if word == "--" {
                if !command.is_some_and(|command| command.takes_images) {
                    break;
                }
                // The arguments of an app.
                words.by_ref().find(|word| *word == "---");
            } else if let Some(typed) = word.strip_prefix('-').filter(|typed| !typed.is_empty()) {
                let (name, given) = match typed.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (typed, None),
                };
                let Some((flag, feature)) = self.flag(command, name) else { continue };
                let next = if flag.takes_next_word && given.is_none() { words.next() } else { None };
                let given = given.or(next.map(String::as_str)).unwrap_or_default().to_lowercase();
                let known = |word: &&String| given.split(',').any(|given| given == *word);
                used.extend(flag.words.iter().filter(known).map(|word| value(flag, word)));
                used.insert(feature);
            } else if let (false, Some(next)) = (operands, self.resolve(command, word)) {
                command = Some(next);
            } else {
                operands = true;
                if command.is_some_and(|command| command.takes_command) {
                    break;
                }
            }
        }
        used.extend(command.map(|command| Feature { command: command.path.clone(), ..Feature::default() }));
        used
    }

    /// A flag by what was typed behind its first hyphen.
    fn flag<'c>(&'c self, command: Option<&'c Command>, typed: &str) -> Option<(&'c Flag, Feature)> {
        let matches = |flag: &&Flag| match typed.strip_prefix('-') {
            Some(name) => flag.name == name,
            None => flag.short.is_some_and(|short| typed.chars().eq([short])),
        };
        let global = || {
            let flag = self.global_flags.iter().find(matches)?;
            Some((flag, Feature { flag: Some(flag.name.clone()), ..Feature::default() }))
        };
        let own = command.and_then(|command| Some((command, command.flags.iter().find(matches)?)));
        own.map(|(command, flag)| (flag, self::own(command, flag))).or_else(global)
    }

    /// The command of this name below another, or the only one whose name begins so.
    fn resolve(&self, parent: Option<&Command>, word: &str) -> Option<&Command> {
        let above = parent.map_or(&[][..], |parent| &parent.path);
        let below = |command: &&Command| {
            command.path.split_last().is_some_and(|(name, path)| path == above && name.starts_with(word))
        };
        let candidates: Vec<&Command> = self.commands.iter().filter(below).collect();
        let exact = candidates.iter().find(|command| command.path.last().is_some_and(|name| name == word));
        match (exact, candidates.as_slice()) {
            (Some(exact), _) => Some(exact),
            (None, [only]) => Some(only),
            _ => None,
        }
    }
}

fn own(command: &Command, flag: &Flag) -> Feature {
    Feature { command: command.path.clone(), flag: Some(flag.name.clone()), value: None }
}

fn value(flag: &Flag, word: &str) -> Feature {
    Feature { command: Vec::new(), flag: Some(flag.name.clone()), value: Some(word.to_owned()) }
}

/// Every feature with the tests that use it.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<Feature, BTreeSet<String>>);

impl Table {
    /// The table of these tests.
    pub(crate) fn of(command_line: &CommandLine, tests: &[Recorded]) -> Self {
        let mut table: BTreeMap<Feature, BTreeSet<String>> =
            command_line.features().into_iter().map(|feature| (feature, BTreeSet::new())).collect();
        for recorded in tests {
            for feature in recorded.commands.iter().flat_map(|arguments| command_line.used(arguments)) {
                table.entry(feature).or_default().insert(recorded.test.clone());
            }
        }
        Self(table)
    }

    /// What no test uses.
    pub(crate) fn missing(&self) -> Vec<&Feature> {
        self.0.iter().filter(|(_, tests)| tests.is_empty()).map(|(feature, _)| feature).collect()
    }

    /// How much there is.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The table for readers.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| command, flag, value | tests |\n|---|---|\n".to_owned();
        for (feature, tests) in &self.0 {
            let mut named: Vec<String> = tests.iter().take(NAMED_TESTS).cloned().collect();
            match tests.len().saturating_sub(NAMED_TESTS) {
                0 => {}
                more => named.push(format!("{more} more")),
            }
            let named = if named.is_empty() { "**none**".to_owned() } else { named.join(", ") };
            text.push_str(&format!("| `{feature}` | {named} |\n"));
        }
        text
    }
}

#[cfg(test)]
#[path = "coverage_test.rs"]
mod coverage_test;

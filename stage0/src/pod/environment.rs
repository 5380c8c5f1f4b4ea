//! Environment variables of apps.
//!
//! Responsible for: the order in which what was typed and what the caller has override what images say. Must not know:
//! where a value was typed; what stage1 adds. Follows rkt-reference.md 6.1, layers 1 to 5.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use appc::App;

use crate::error::{FileContext, Result, Stage0Error};

/// Largest environment file: as much as all variables of a program together may be (execve(2): a quarter of the usual 8 MiB
/// of stack).
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Variables for all apps of a pod.
#[derive(Debug, Clone, Default)]
pub struct PodEnvironment {
    /// `--inherit-env`: the caller's environment, for names that no app sets.
    pub inherited: Vec<(String, String)>,
    /// `--set-env-file`, in order.
    pub from_files: Vec<(String, String)>,
    /// `--set-env`, in order.
    pub explicit: Vec<(String, String)>,
}

impl PodEnvironment {
    /// Applies the variables to an app that already has its own.
    pub fn apply(&self, app: &mut App) {
        for (name, value) in &self.inherited {
            // A name that a manifest cannot carry (bash exports functions as `BASH_FUNC_x%%`) stays behind.
            if app.env(name).is_none() && is_name(name) {
                app.set_env(name, value);
            }
        }
        for (name, value) in self.from_files.iter().chain(&self.explicit) {
            app.set_env(name, value);
        }
    }
}

/// Reads `--set-env-file`s: lines `NAME=VALUE`, neither quoted nor trimmed; empty lines and those beginning with
/// `#` or `;` are comments. A name may appear once in all of them.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut names = HashSet::new();
    for path in paths {
        let text = read_bounded(path)?;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
            let (name, value) = parse_line(path, line)?;
            if !names.insert(name.to_owned()) {
                return Err(Stage0Error::refused(format!(
                    "environment variable {name:?} already set ({path:?})"
                )));
            }
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(variables)
}

/// A file may also be a pipe, so its size is not asked for.
fn read_bounded(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).file("open", path)?;
    file.take(MAX_FILE_BYTES.saturating_add(1)).read_to_string(&mut text).file("read", path)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Stage0Error::refused(format!(
            "environment file {path:?} is larger than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(text)
}

fn parse_line<'l>(path: &Path, line: &'l str) -> Result<(&'l str, &'l str)> {
    match line.split_once('=') {
        Some(("", _)) => {
            Err(Stage0Error::refused(format!("environment variable without a name in {path:?}: {line:?}")))
        }
        Some(pair) => Ok(pair),
        None => {
            Err(Stage0Error::refused(format!("environment variable without a value in {path:?}: {line:?}")))
        }
    }
}

/// Whether a manifest may carry a variable of this name (appc-spec `schema/types/environment.go`).
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn inherited_fills_gaps_only_then_files_override_and_explicit_values_last() {
        let mut app = App::default();
        app.set_env("A", "app");
        app.set_env("B", "app");
        app.set_env("C", "app");
        let environment = PodEnvironment {
            inherited: pairs(&[("A", "inherited"), ("D", "inherited"), ("BASH_FUNC_x%%", "() { :; }")]),
            from_files: pairs(&[("B", "file"), ("C", "file")]),
            explicit: pairs(&[("C", "explicit"), ("E", "explicit")]),
        };

        environment.apply(&mut app);

        let seen: Vec<_> = app.environment.iter().map(|v| format!("{}={}", v.name, v.value)).collect();
        assert_eq!(seen, ["A=app", "B=file", "C=explicit", "D=inherited", "E=explicit"]);
    }

    #[test]
    fn files_are_taken_literally_and_a_name_may_appear_once_in_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::write(&one, "# comment\n; comment\n\nA= \"quoted\" \nB=x=y\n").unwrap();
        std::fs::write(&two, "B=again\n").unwrap();

        let read = read_files(std::slice::from_ref(&one)).unwrap();
        let twice = read_files(&[one, two]);

        assert_eq!(read, pairs(&[("A", " \"quoted\" "), ("B", "x=y")]));
        assert!(twice.unwrap_err().to_string().contains("already set"));
    }

    #[test]
    fn lines_without_a_name_or_a_value_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        for line in ["=x", "JUST_A_NAME"] {
            std::fs::write(&path, line).unwrap();

            assert!(read_files(std::slice::from_ref(&path)).is_err(), "{line}");
        }
    }

    #[test]
    fn file_that_does_not_end_is_refused() {
        let error = read_files(&[PathBuf::from("/dev/zero")]).unwrap_err();

        assert!(error.to_string().contains("is larger than 2097152 bytes"), "{error}");
    }

    #[test]
    fn file_may_be_a_pipe() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, b"A=1\n").unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));

        assert_eq!(read_files(&[PathBuf::from(path)]).unwrap(), pairs(&[("A", "1")]));
    }
}

//! The little language of the table: steps separated by semicolons, `?` before those whose outcome is the verdict.
//!
//! Responsible for identities, umask and descriptors of a case, and for putting them back. What a step does is `calls`'
//! subject. A step without `?` has to succeed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::{Mode, Stat};
use rustix::process::umask;

use crate::{Places, calls};

/// What the steps of a case share.
#[derive(Debug)]
pub(crate) struct State<'a> {
    pub(crate) places: &'a Places,
    /// Open files by the name that the case gave them.
    pub(crate) files: BTreeMap<String, OwnedFd>,
    /// What `note` has seen.
    pub(crate) noted: BTreeMap<String, Stat>,
}

/// Runs a case and returns its verdict.
pub(crate) fn run(steps: &str, places: &Places) -> String {
    let mut state = State { places, files: BTreeMap::new(), noted: BTreeMap::new() };
    let size = getrlimit(Resource::RLIMIT_FSIZE);
    let verdict = carry_out(steps, &mut state);
    let _ = calls::assume(0, 0, &[]);
    umask(Mode::from_raw_mode(0));
    if let Ok((soft, hard)) = size {
        let _ = setrlimit(Resource::RLIMIT_FSIZE, soft, hard);
    }
    verdict
}

fn carry_out(steps: &str, state: &mut State<'_>) -> String {
    let mut outcomes = Vec::new();
    for step in steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        let (watched, text) = match step.strip_prefix('?') {
            Some(rest) => (true, rest.trim()),
            None => (false, step),
        };
        let words: Vec<String> = text.split_whitespace().map(|word| expand(word, state.places)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match calls::call(&words, state) {
            Ok(outcome) if watched => outcomes.push(outcome),
            Ok(_) => {}
            Err(error) if watched => outcomes.push(calls::name_of(error)),
            Err(error) => return format!("[{text}: {}]", calls::name_of(error)),
        }
    }
    outcomes.join(",")
}

/// `""` is the empty word, `{TEXT*N}` is TEXT N times, `@base`, `@ro`, `@tiny` and `@shm` are directories, and `%XX`
/// stands for nothing but itself: names may hold it.
fn expand(word: &str, places: &Places) -> String {
    if word == "\"\"" {
        return String::new();
    }
    let mut text = word.to_owned();
    for (name, path) in [
        ("@base", &places.base),
        ("@ro", &places.read_only),
        ("@tiny", &places.tiny),
        ("@shm", &"/dev/shm".into()),
    ] {
        text = text.replace(name, &path.to_string_lossy());
    }
    while let Some((before, rest)) = text.split_once('{') {
        let Some((inside, after)) = rest.split_once('}') else { break };
        let Some((repeated, count)) = inside.rsplit_once('*') else { break };
        text = format!("{before}{}{after}", repeated.repeat(count.parse().unwrap_or(0)));
    }
    text
}

//! What file systems answer: hundreds of cases, each in a fresh directory, one `CASE VERDICT` line each.
//!
//! Responsible for running the table (`cases.txt` and what `matrix` makes of it) and the programs of `behaviours` in the
//! directories on its command line. Must not know where these directories are: verdicts of a local file system and of one
//! shared with a pod are compared by whoever runs this. Ends with status 1 if a verdict is not the one that the
//! manual pages of Linux give.
//!
//! `files READ-ONLY-DIRECTORY TINY-DIRECTORY DIRECTORY…`, as root; `written:DIRECTORY` leaves the matrix out. `files --hold SECONDS` is a program that does nothing.

mod acl;
mod behaviours;
mod calls;
mod matrix;
mod script;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use rustix::fs::{Mode, mkdir};
use rustix::process::umask;

/// One line of the table.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    /// Steps of `script`, separated by semicolons.
    steps: String,
    /// What Linux answers, if the manual pages say so.
    expected: Option<String>,
}

/// Directories that cases may speak of.
#[derive(Clone, Debug)]
struct Places {
    /// Where a case's own directory is made.
    base: PathBuf,
    /// Nobody may write there: a file `f`, a directory `d`, a link `l`, a fifo `p`.
    read_only: PathBuf,
    /// A file system with room for next to nothing.
    tiny: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [hold, seconds] = arguments.as_slice()
        && hold == "--hold"
    {
        thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(0)));
        return ExitCode::SUCCESS;
    }
    let [read_only, tiny, bases @ ..] = arguments.as_slice() else {
        eprintln!("usage: files READ-ONLY-DIRECTORY TINY-DIRECTORY DIRECTORY…");
        return ExitCode::from(2);
    };
    let (matrix, written) = (matrix::cases(), written());
    let all = [matrix, written.clone()].concat();
    let mut wrong = 0;
    for base in bases {
        let (base, cases) = match base.strip_prefix("written:") {
            Some(base) => (base, &written),
            None => (base.as_str(), &all),
        };
        let places = Places { base: base.into(), read_only: read_only.into(), tiny: tiny.into() };
        let begin = Instant::now();
        match run_all(cases, &places) {
            Ok(count) => {
                wrong += count;
                eprintln!("files: {base}: {:.1} s", begin.elapsed().as_secs_f32());
            }
            Err(error) => {
                eprintln!("files: {base}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(wrong > 0))
}

/// The cases that are written down.
fn written() -> Vec<Case> {
    let lines = include_str!("cases.txt").lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (name, rest) = line.split_once(": ").unwrap_or((line, "malformed"));
        let (steps, expected) = match rest.split_once(" => ") {
            Some((steps, expected)) => (steps, Some(expected.trim().to_owned())),
            None => (rest, None),
        };
        Case { name: name.to_owned(), steps: steps.to_owned(), expected }
    });
    lines.collect()
}

/// Runs everything below one directory and returns how many verdicts are not as expected.
fn run_all(cases: &[Case], places: &Places) -> io::Result<usize> {
    let mut wrong = 0;
    // A line's way out of a virtual machine takes as long as several cases: they go together.
    let mut lines = BufWriter::with_capacity(1 << 16, File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mut report = |name: &str, verdict: &str, expected: Option<&str>| match expected {
        Some(expected) if expected != verdict => {
            wrong += 1;
            writeln!(lines, "{} {name} {verdict} (Linux: {expected})", places.base.display())
        }
        _ => writeln!(lines, "{} {name} {verdict}", places.base.display()),
    };
    for case in cases {
        let verdict = in_fresh_directory(&places.base, || script::run(&case.steps, places))?;
        report(&case.name, &verdict, case.expected.as_deref())?;
    }
    for behaviour in behaviours::ALL {
        let verdict = in_fresh_directory(&places.base, || match (behaviour.run)() {
            Ok(verdict) => verdict,
            Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), calls::errno_name),
        })?;
        report(behaviour.name, &verdict, Some(behaviour.expected))?;
    }
    lines.flush()?;
    Ok(wrong)
}

/// Runs a function with a new directory, which anybody may write to, as working directory.
fn in_fresh_directory(base: &Path, function: impl FnOnce() -> String) -> io::Result<String> {
    let directory = base.join("case");
    umask(Mode::empty());
    mkdir(&directory, Mode::from_raw_mode(0o777))?;
    env::set_current_dir(&directory)?;
    let verdict = function();
    env::set_current_dir("/")?;
    // Most cases leave nothing behind, and then one call does.
    fs::remove_dir(&directory).or_else(|_| fs::remove_dir_all(&directory))?;
    Ok(verdict)
}

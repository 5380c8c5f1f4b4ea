//! Runs the tests of libtest binaries one by one, each with a time limit of its own.
//!
//! Responsible for a line per test, the output of those that fail, and for ending all that a test started when its
//! time is over, and nothing else. It runs on the host or inside the KVM machine and must not know which.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::coverage::{self, Recorded};
use super::remarks;
use super::tally::Tally;
use crate::process::text;

/// Generous, because the emulated machine is up to thirty times slower than a real one.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(300);

/// How much of a failed test's output is shown, from the end.
const SHOWN_BYTES: usize = 64 << 10;

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Which of a suite's tests to run: one in so many, so that several machines can have a share each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Counted from 0.
    pub(crate) index: usize,
    pub(crate) of: usize,
}

impl Share {
    /// Every test.
    pub(crate) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Reads what [`Share`] prints, `0/2`.
    fn parse(text: &str) -> Option<Self> {
        let (index, of) = text.split_once('/')?;
        let share = Self { index: index.parse().ok()?, of: of.parse().ok()? };
        (share.index < share.of).then_some(share)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.of)
    }
}

/// `xtask run-tests RESULT SHARE BINARY… [-- FILTER…]`: what the KVM machine is asked to run. Writes the tally to RESULT.
pub(crate) fn command(arguments: &[OsString]) -> Result<()> {
    let (result, rest) = arguments.split_first().context("run-tests: no file for the result")?;
    let (share, rest) = rest.split_first().context("run-tests: no share of the tests")?;
    let share = share.to_str().and_then(Share::parse).context("run-tests: a share is like 0/2")?;
    let mut parts = rest.splitn(2, |argument| argument == "--");
    let binaries: Vec<PathBuf> = parts.next().unwrap_or_default().iter().map(PathBuf::from).collect();
    let filters: Vec<String> =
        parts.next().unwrap_or_default().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let tally = run_all(&binaries, &filters, share)?.tally;
    fs::write(result, tally.to_string()).context("run-tests: cannot write the result")
}

/// What a test prints before a table's head, a tabulator and a row of it; the tables are shown when all tests are done.
const TABLE: &str = "table: ";

/// The tables so far, in order: a head and the rows under it.
pub(super) type Tables = Vec<(String, Vec<String>)>;

/// Adds the rows in a test's output.
pub(super) fn collect_rows(tables: &mut Tables, output: &str) {
    // The first line of a test's output has libtest's own words before it.
    let rows = output.lines().filter_map(|line| line.split_once(TABLE)?.1.split_once('\t'));
    for (head, row) in rows {
        match tables.iter_mut().find(|(known, _)| known == head) {
            Some((_, rows)) => rows.push(row.to_owned()),
            None => tables.push((head.to_owned(), vec![row.to_owned()])),
        }
    }
}

/// What came of a run of tests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// How the tests that passed used rkt.
    pub(crate) recorded: Vec<Recorded>,
}

impl Outcome {
    fn add(&mut self, test: Ran, tables: &mut Tables) {
        self.tally += Tally::of(test.passed);
        if test.passed {
            collect_rows(tables, &test.output);
            self.recorded.push(Recorded { test: test.name, commands: test.commands });
        }
    }
}

/// Runs every test of `binaries` whose name contains one of `filters` (all, when there is none) and that is of the share. One
/// that fails is run again when the others are done; it counts as failed if it does twice, and is named at the end anyway.
pub(crate) fn run_all(binaries: &[PathBuf], filters: &[String], share: Share) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut tables = Tables::new();
    let mut failed = Vec::new();
    for binary in binaries {
        let ignored = list(binary, true)?;
        let wanted =
            |name: &String| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
        let names = list(binary, false)?.into_iter().filter(wanted);
        for name in names.skip(share.index).step_by(share.of) {
            if ignored.contains(&name) {
                println!("  skipped          {name}");
                outcome.tally.skipped += 1;
                continue;
            }
            let test = run_one(binary, &name)?;
            if test.passed {
                outcome.add(test, &mut tables);
            } else {
                failed.push((binary, test));
            }
        }
    }
    let again = failed.len() <= remarks::SECOND_TRIES;
    for (binary, first) in failed {
        if !again {
            remarks::failed(&first.name);
            outcome.add(first, &mut tables);
            continue;
        }
        println!("  once more:");
        let second = run_one(binary, &first.name)?;
        remarks::tried_again(&second.name, second.passed);
        outcome.add(second, &mut tables);
    }
    for (head, rows) in tables {
        println!("\n    {head}");
        rows.iter().for_each(|row| println!("    {row}"));
        println!();
    }
    Ok(outcome)
}

fn list(binary: &Path, ignored: bool) -> Result<Vec<String>> {
    let mut command = Command::new(binary);
    command.args(["--list", "--format", "terse"]);
    if ignored {
        command.arg("--ignored");
    }
    let names = text(&mut command)?;
    Ok(names.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// A test that was run.
struct Ran {
    name: String,
    passed: bool,
    output: String,
    /// The arguments of every rkt it started.
    commands: Vec<Vec<String>>,
}

/// Runs one test.
fn run_one(binary: &Path, name: &str) -> Result<Ran> {
    // A file and not a pipe: a process that a test leaves behind must not keep the runner waiting.
    let output = tempfile::NamedTempFile::new().context("cannot make a file for a test's output")?;
    let record = tempfile::NamedTempFile::new().context("cannot make a file for a test's commands")?;
    let stream = |file: &File| -> Result<Stdio> { Ok(file.try_clone()?.into()) };
    let started = Instant::now();
    let mut child = Command::new(binary)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(coverage::RECORD, record.path())
        .stdin(Stdio::null())
        .stdout(stream(output.as_file())?)
        .stderr(stream(output.as_file())?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let status = wait(&mut child, started + TIME_LIMIT)?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = fs::read(output.path()).unwrap_or_default();
    match status {
        Some(status) if status.success() => {
            println!("  ok     {seconds:7.1} s  {name}");
            let output = String::from_utf8_lossy(&bytes).into_owned();
            let commands = coverage::read_record(record.path())?;
            return Ok(Ran { name: name.to_owned(), passed: true, output, commands });
        }
        Some(status) => println!("  FAILED {seconds:7.1} s  {name} ({status})"),
        None => println!("  FAILED {seconds:7.1} s  {name} (time limit of {} s)", TIME_LIMIT.as_secs()),
    }
    let shown = bytes.get(bytes.len().saturating_sub(SHOWN_BYTES)..).unwrap_or_default();
    let shown = String::from_utf8_lossy(shown).into_owned();
    shown.lines().for_each(|line| println!("      {line}"));
    Ok(Ran { name: name.to_owned(), passed: false, output: shown, commands: Vec::new() })
}

/// Waits for the test, or ends its whole process group at the deadline and returns `None`.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(group) = group else { bail!("a test has the process id {}", child.id()) };
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a test")? {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        thread::sleep(POLL_INTERVAL);
    };
    // Also after an orderly end: the next test must not meet what this one left running.
    let _ = kill_process_group(group, Signal::KILL);
    if status.is_none() {
        child.wait().context("cannot wait for a test")?;
    }
    Ok(status)
}

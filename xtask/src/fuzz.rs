//! `cargo xtask fuzz [TARGET…] [--seconds N | --runs N] [--planted]`: fuzzing on demand.
//!
//! Responsible for the instrumented build (stable Rust: the coverage pass is LLVM's own), for running each target, for saying in a line
//! what came of it, and for adding to its corpus what reaches new code. What is fuzzed is the subject of tests/fuzz.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::cargo;
use crate::progress::Step;
use crate::{setup, workspace};

const USAGE: &str = "usage: cargo xtask fuzz [TARGET…] [--seconds N | --runs N] [--planted]";
const DEFAULT_SECONDS: u64 = 300;
/// Longest input. The corpora stay small enough to be replayed with every test run, and executions quick.
const MAX_INPUT_BYTES: usize = 4 * 1024;
/// Largest corpus of a target, in the repository and in every test run.
const MAX_CORPUS_BYTES: u64 = 64 * 1024;
/// Most inputs of a corpus.
const MAX_CORPUS_INPUTS: usize = 64;
/// Executions of one round in search of a planted bug.
const ROUND_RUNS: u64 = 20_000;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Inputs that were written by hand. None shows a planted bug, which a test asserts.
const SEED: &str = "seed-";
/// What `cargo fuzz` passes on nightly, in the form that stable accepts.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    targets: Vec<String>,
    limit: Limit,
    planted: bool,
}

/// When a target has been fuzzed enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Seconds(u64),
    Runs(u64),
}

impl Request {
    fn parse(arguments: &[OsString], known: &[String]) -> Result<Self> {
        let (mut targets, mut limit, mut planted) = (Vec::new(), Limit::Seconds(DEFAULT_SECONDS), false);
        let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let value = words.next().unwrap_or_default();
                value.parse().with_context(|| format!("{word} {value:?} is no number"))
            };
            match word.as_str() {
                "--seconds" => limit = Limit::Seconds(number()?),
                "--runs" => limit = Limit::Runs(number()?),
                "--planted" => planted = true,
                _ if known.contains(&word) => targets.push(word),
                _ => bail!("{USAGE}; there are: {}", known.join(" ")),
            }
        }
        if targets.is_empty() {
            targets = known.to_vec();
        }
        Ok(Self { targets, limit, planted })
    }
}

/// Fuzzes the named targets, or all, one after the other; fails at the first input that one of them panics on, or with planted bugs at
/// the first that is not found.
pub(crate) fn command(arguments: &[OsString]) -> Result<u8> {
    let request = Request::parse(arguments, &targets()?)?;
    setup::ensure()?;
    setup::ensure_fuzzer()?;
    let fuzzer = build()?;
    println!("{:<22}{:>12}{:>10}{:>10}{:>10}", "target", "executions", "edges", "inputs", "seconds");
    for name in &request.targets {
        let figures = if request.planted {
            find_planted(&fuzzer, name, request.limit)?
        } else {
            fuzz(&fuzzer, name, request.limit)?
        };
        println!("{name:<22}{figures}");
    }
    Ok(0)
}

/// The targets are known by their corpora.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpora()).context("listing the corpora")? {
        names.push(entry.context("listing the corpora")?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn corpora() -> PathBuf {
    workspace::root().join("tests/fuzz/corpus")
}

fn build() -> Result<PathBuf> {
    let directory = workspace::target().join("fuzz");
    let step = Step::begin("fuzz: compiling with coverage");
    let status = cargo()
        .args(["build", "--quiet", "--release", "--package", "rkt-fuzz", "--features", "fuzzer"])
        .args(["--target", TRIPLE, "--target-dir"])
        .arg(&directory)
        .env("RUSTFLAGS", INSTRUMENTATION)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the fuzzer does not build");
    step.end();
    Ok(directory.join(TRIPLE).join("release/fuzz"))
}

/// What came of a target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    /// Of the instrumented code, that were taken.
    edges: u64,
    /// That reach something which no other one does.
    inputs: u64,
    seconds: u64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { executions, edges, inputs, seconds } = self;
        write!(formatter, "{executions:>12}{edges:>10}{inputs:>10}{seconds:>10}")
    }
}

impl Figures {
    /// Reads what the fuzzer says: `#1024 NEW cov: 91 ft: 120 corp: 14/80b …` each time that it has news.
    fn of(log: &str, seconds: u64) -> Self {
        let mut figures = Self { seconds, ..Self::default() };
        for line in log.lines().filter(|line| line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let number = words.next().and_then(|word| word.trim_start_matches('#').parse().ok());
            figures.executions = number.unwrap_or(figures.executions);
            while let Some(word) = words.next() {
                let field = match word {
                    "cov:" => &mut figures.edges,
                    "corp:" => &mut figures.inputs,
                    _ => continue,
                };
                let value = words.next().unwrap_or_default();
                *field = value.split('/').next().and_then(|value| value.parse().ok()).unwrap_or(*field);
            }
        }
        figures
    }
}

/// A fuzzer of one target.
fn fuzzer_of(fuzzer: &Path, name: &str) -> Command {
    let mut command = Command::new(fuzzer);
    command.env("RKT_FUZZ_TARGET", name).arg(format!("-max_len={MAX_INPUT_BYTES}"));
    command.args(["-timeout=60", "-rss_limit_mb=1024"]);
    command
}

/// Runs a fuzzer, and returns whether it found nothing, what it said, and for how long it ran.
fn run(command: &mut Command, name: &str) -> Result<(bool, String, u64)> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.context("starting the fuzzer")?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let path = workspace::target().join("fuzz").join(format!("{name}.log"));
    fs::write(&path, &log).with_context(|| format!("writing {}", path.display()))?;
    Ok((output.status.success(), log, started.elapsed().as_secs()))
}

fn limits(limit: Limit) -> String {
    match limit {
        Limit::Seconds(seconds) => format!("-max_total_time={seconds}"),
        Limit::Runs(runs) => format!("-runs={runs}"),
    }
}

fn fresh(kind: &str, name: &str) -> Result<PathBuf> {
    let directory = workspace::target().join("fuzz").join(kind).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

fn fuzz(fuzzer: &Path, name: &str, limit: Limit) -> Result<Figures> {
    let found = workspace::target().join("fuzz/found").join(name);
    let crashes = workspace::target().join("fuzz/crashes").join(name);
    for directory in [&found, &crashes] {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let corpus = corpora().join(name);
    let mut command = fuzzer_of(fuzzer, name);
    command.arg(limits(limit)).arg(format!("-artifact_prefix={}/", crashes.display()));
    let (clean, log, seconds) = run(command.args([&found, &corpus]), name)?;
    ensure!(clean, "{name}: {}\nthe input that did it is in {}", last_lines(&log), crashes.display());
    keep(fuzzer, name, &corpus, &found)?;
    Ok(Figures::of(&log, seconds))
}

/// Fuzzes a target with a bug in it, from the inputs on that were written by hand, and expects to find it. In rounds: each begins with
/// these, which would be few among all that a longer one finds.
fn find_planted(fuzzer: &Path, name: &str, limit: Limit) -> Result<Figures> {
    let seeds = fresh("planted-seeds", name)?;
    for (_, path) in files(&corpora().join(name))? {
        let file_name = path.file_name().unwrap_or_default();
        if file_name.to_string_lossy().starts_with(SEED) {
            fs::copy(&path, seeds.join(file_name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    let mut sum = Figures::default();
    for round in 1u32.. {
        let (found, crashes) = (fresh("planted", name)?, fresh("planted-crashes", name)?);
        let mut command = fuzzer_of(fuzzer, name);
        command.env("RKT_FUZZ_PLANTED", "1").args([format!("-seed={round}"), format!("-runs={ROUND_RUNS}")]);
        command.arg(format!("-artifact_prefix={}/", crashes.display())).args([&found, &seeds]);
        let (clean, log, seconds) = run(&mut command, name)?;
        let figures = Figures::of(&log, seconds);
        sum = Figures {
            executions: sum.executions + figures.executions,
            seconds: sum.seconds + seconds,
            ..figures
        };
        if !clean {
            ensure!(log.contains("the planted bug"), "{name}: another bug was found: {}", last_lines(&log));
            break;
        }
        let goes_on = match limit {
            Limit::Seconds(seconds) => sum.seconds < seconds,
            Limit::Runs(runs) => sum.executions < runs,
        };
        ensure!(goes_on, "{name}: the planted bug was not found");
    }
    Ok(sum)
}

/// What the fuzzer said last, panic and all.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('#')).collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

/// Adds to a corpus some of what reaches code that it did not reach, small inputs and large ones, as far as they fit.
fn keep(fuzzer: &Path, name: &str, corpus: &Path, found: &Path) -> Result<()> {
    let merged = fresh("merged", name)?;
    let present = files(corpus)?;
    for (_, path) in &present {
        let copy = merged.join(path.file_name().unwrap_or_default());
        fs::copy(path, copy).with_context(|| format!("copying {}", path.display()))?;
    }
    let (merging, log, _) = run(fuzzer_of(fuzzer, name).arg("-merge=1").args([&merged, found]), name)?;
    ensure!(merging, "{name}: the corpora cannot be merged: {}", last_lines(&log));
    let mut bytes: u64 = present.iter().map(|(size, _)| size).sum();
    let is_new = |path: &Path| !present.iter().any(|(_, known)| known.file_name() == path.file_name());
    let new: Vec<_> = files(&merged)?.into_iter().filter(|(_, path)| is_new(path)).collect();
    let room = MAX_CORPUS_INPUTS.saturating_sub(present.len());
    for (size, path) in new.iter().step_by(new.len().div_ceil(room.max(1)).max(1)).take(room) {
        bytes += size;
        if bytes > MAX_CORPUS_BYTES {
            break;
        }
        let kept = corpus.join(path.file_name().unwrap_or_default());
        fs::copy(path, kept).with_context(|| format!("keeping {}", path.display()))?;
    }
    Ok(())
}

/// Sizes and paths of the files in a directory, the smallest first.
fn files(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let listing = || -> std::io::Result<Vec<(u64, PathBuf)>> {
        fs::read_dir(directory)?
            .map(|entry| entry.and_then(|entry| Ok((entry.metadata()?.len(), entry.path()))))
            .collect()
    };
    let mut files = listing().with_context(|| format!("listing {}", directory.display()))?;
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[path = "fuzz_test.rs"]
mod fuzz_test;

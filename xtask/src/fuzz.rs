//! `cargo xtask fuzz [TARGET…] [--seconds N]`: fuzzing on demand.
//!
//! Responsible for the instrumented build (stable Rust: the coverage pass is LLVM's own), for running each target and for
//! adding to its corpus what reaches new code. What is fuzzed is the subject of tests/fuzz.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::cargo;
use crate::progress::{Step, say};
use crate::{setup, workspace};

const DEFAULT_SECONDS: u64 = 300;
/// Longest input. The corpora stay small enough to be replayed with every test run.
const MAX_INPUT_BYTES: usize = 16 * 1024;
/// Largest corpus of a target, in the repository and in every test run.
const MAX_CORPUS_BYTES: u64 = 128 * 1024;
/// Most inputs that one run adds.
const MAX_NEW_INPUTS: usize = 100;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What `cargo fuzz` passes on nightly, in the form that stable accepts.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Fuzzes the named targets, or all, one after the other; fails at the first input that one of them panics on.
pub(crate) fn command(arguments: &[OsString]) -> Result<u8> {
    let (mut chosen, mut seconds) = (Vec::new(), DEFAULT_SECONDS);
    let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
    let known = targets()?;
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let value = words.next().unwrap_or_default();
            seconds = value.parse().with_context(|| format!("--seconds {value:?} is no number"))?;
        } else if known.contains(&word) {
            chosen.push(word);
        } else {
            bail!("usage: cargo xtask fuzz [TARGET…] [--seconds N]; there are: {}", known.join(" "));
        }
    }
    setup::ensure()?;
    setup::ensure_fuzzer()?;
    let fuzzer = build()?;
    let all = chosen.is_empty();
    for name in if all { &known } else { &chosen } {
        fuzz(&fuzzer, name, seconds)?;
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

fn fuzz(fuzzer: &Path, name: &str, seconds: u64) -> Result<()> {
    let found = workspace::target().join("fuzz/found").join(name);
    let crashes = workspace::target().join("fuzz/crashes").join(name);
    for directory in [&found, &crashes] {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let corpus = corpora().join(name);
    let start = || {
        let mut command = Command::new(fuzzer);
        command.env("RKT_FUZZ_TARGET", name).arg(format!("-max_len={MAX_INPUT_BYTES}"));
        command
    };
    say(&format!("fuzz: {name} for {seconds} s"));
    let status = start()
        .args([format!("-max_total_time={seconds}"), "-timeout=10".into(), "-rss_limit_mb=1024".into()])
        .args(["-print_final_stats=1".into(), format!("-artifact_prefix={}/", crashes.display())])
        .args([&found, &corpus])
        .status()
        .context("starting the fuzzer")?;
    ensure!(status.success(), "{name}: the input that did it is in {}", crashes.display());
    keep(&corpus, &found)
}

/// Adds to a corpus some of what was found, small inputs and large ones, as far as they fit.
fn keep(corpus: &Path, found: &Path) -> Result<()> {
    let mut kept: u64 = files(corpus)?.iter().map(|(size, _)| size).sum();
    let found = files(found)?;
    for (size, path) in found.iter().step_by(found.len().div_ceil(MAX_NEW_INPUTS).max(1)) {
        kept += size;
        if kept > MAX_CORPUS_BYTES {
            break;
        }
        let name = path.file_name().unwrap_or_default();
        fs::copy(path, corpus.join(name)).with_context(|| format!("keeping {}", path.display()))?;
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

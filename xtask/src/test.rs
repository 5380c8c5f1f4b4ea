//! `cargo xtask test`: the tiers of tests, and one count of all.
//!
//! Responsible for what each tier needs and for the rule that a tier that could not run has failed. How single tests
//! are run is `runner`'s subject.

pub(crate) mod coverage;
mod messages;
pub(crate) mod remarks;
pub(crate) mod runner;
pub(crate) mod tally;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvm_machine::Clock;

use crate::cargo::cargo;
use crate::{bench, dist, faults, images, machine, progress, setup, workspace};
use runner::Share;
use tally::Tally;

#[cfg(test)]
#[path = "test_test.rs"]
mod test_test;

/// Twice what the machine tier takes. An emulated machine hangs as a whole once in a while, and the time limits of
/// single tests, which are kept inside it, with it.
const MACHINE_LIMIT: Duration = Duration::from_secs(25 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Unit,
    Host,
    Machine,
    Bench,
}

impl Tier {
    const ALL: [Self; 4] = [Self::Unit, Self::Host, Self::Machine, Self::Bench];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Host => "host",
            Self::Machine => "machine",
            Self::Bench => "bench",
        }
    }
}

/// `test [TIER…] [-- FILTER…]`: prints the final line and returns the exit code.
pub(crate) fn command(arguments: &[OsString]) -> Result<u8> {
    let mut words = arguments.splitn(2, |argument| argument == "--");
    let mut tiers = Vec::new();
    for word in words.next().unwrap_or_default() {
        let Some(tier) = Tier::ALL.into_iter().find(|tier| word == tier.name()) else {
            bail!("unknown tier {word:?}; there are unit, host, machine and bench");
        };
        tiers.push(tier);
    }
    let filters: Vec<String> =
        words.next().unwrap_or_default().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if tiers.is_empty() {
        tiers = Tier::ALL.to_vec();
    }
    let tally = run(&tiers, &filters);
    println!("{tally}");
    Ok(u8::from(tally.failed > 0))
}

/// Runs all tiers.
pub(crate) fn all() -> Tally {
    run(&Tier::ALL, &[])
}

fn run(tiers: &[Tier], filters: &[String]) -> Tally {
    let mut prepared = setup::ensure();
    if prepared.is_ok() && tiers.iter().any(|tier| *tier != Tier::Unit) {
        prepared = dist::build();
    }
    remarks::begin();
    let mut sum = Tally::default();
    for tier in tiers {
        let name = tier.name();
        println!("{name}:");
        let started = Instant::now();
        // Unit tests need no product, so they tell their own story when it does not build.
        let ready = if *tier == Tier::Unit { None } else { prepared.as_ref().err() };
        let result = match ready {
            Some(error) => Err(anyhow::anyhow!("{error:#}")),
            None => run_tier(*tier, filters),
        };
        let tally = result.unwrap_or_else(|error| {
            println!("  FAILED  the tier could not run: {error:#}");
            remarks::failed(name);
            Tally::of(false)
        });
        println!("{name}: {tally} ({:.0} s)", started.elapsed().as_secs_f64());
        sum += tally;
    }
    remarks::show();
    sum
}

fn run_tier(tier: Tier, filters: &[String]) -> Result<Tally> {
    match tier {
        Tier::Unit => unit(filters),
        Tier::Host => host(filters),
        Tier::Machine => {
            images::oci::publish_all()?;
            faults::stage1()?;
            in_machine(&[suite("machine")?], filters)
        }
        Tier::Bench => bench::smoke(),
    }
}

/// The suite, and unless only a part of it was asked for, what of rkt it leaves out.
fn host(filters: &[String]) -> Result<Tally> {
    faults::rkt()?;
    let outcome = runner::run_all(&[suite("host")?], filters, Share::WHOLE)?;
    let mut tally = outcome.tally;
    if filters.is_empty() {
        tally += coverage::judge(&outcome.recorded)?;
        tally += messages::judge()?;
    }
    Ok(tally)
}

/// What [`cargo_test`] found.
struct UnitTests {
    tally: Tally,
    /// The names of those that failed, unless their binary crashed.
    failed: Vec<String>,
}

/// All unit tests; those that fail are run again, as [`runner::run_all`] does.
fn unit(filters: &[String]) -> Result<Tally> {
    let first = cargo_test(filters)?;
    let mut tally = first.tally;
    if tally == Tally::default() && filters.is_empty() {
        bail!("cargo test ran nothing");
    }
    if tally.failed != first.failed.len() || tally.failed > remarks::SECOND_TRIES {
        first.failed.iter().for_each(|name| remarks::failed(name));
        return Ok(tally);
    }
    for name in &first.failed {
        let second = cargo_test(&["--exact".to_owned(), name.clone()])?;
        let passed = second.tally.failed == 0 && second.tally.passed > 0;
        remarks::tried_again(name, passed);
        if passed {
            tally += Tally { passed: 1, ..Tally::default() };
            tally.failed -= 1;
        }
    }
    Ok(tally)
}

/// `cargo test`, whose summaries are added up. `--tests` is every target that has not opted out of the test harness.
fn cargo_test(arguments: &[String]) -> Result<UnitTests> {
    let mut child = cargo()
        .args(["test", "--workspace", "--tests", "--no-fail-fast", "--quiet", "--"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let errors = child.stderr.take().context("cargo has no stderr")?;
    let failed_binaries = thread::spawn(move || {
        let mut count = 0;
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            count += usize::from(line.starts_with("error: test failed"));
            eprintln!("{line}");
        }
        count
    });
    let output = child.stdout.take().context("cargo has no stdout")?;
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let mut failed_summaries = 0;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            tally += libtest_summary(summary).with_context(|| format!("cannot understand {line:?}"))?;
            failed_summaries += usize::from(summary.starts_with("FAILED"));
        }
        failed.extend(line.strip_suffix(" --- FAILED").map(str::to_owned));
        if !is_dull(&line) {
            println!("  {line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    // A binary that crashed has no summary; it counts as one failed test.
    tally.failed += failed_binaries.join().unwrap_or(0).saturating_sub(failed_summaries);
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(UnitTests { tally, failed })
}

/// Empty binaries and rows of dots say nothing.
fn is_dull(line: &str) -> bool {
    line.is_empty()
        || line.starts_with("running ")
        || line.starts_with("test result: ok")
        || line.chars().all(|letter| "./0123456789i ".contains(letter))
}

/// Reads `ok. 3 passed; 0 failed; 1 ignored; …`.
fn libtest_summary(summary: &str) -> Option<Tally> {
    let mut tally = Tally::default();
    for part in summary.split_once(". ")?.1.split("; ") {
        let (count, word) = part.split_once(' ')?;
        match word {
            "passed" => tally.passed = count.parse().ok()?,
            "failed" => tally.failed = count.parse().ok()?,
            "ignored" => tally.skipped = count.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

/// Builds one of the end-to-end suites and returns its executable.
fn suite(name: &str) -> Result<PathBuf> {
    executable(&["--test", name])
}

/// Builds one target of the tests crate and returns its executable.
pub(crate) fn executable(target: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .args([
            "test",
            "--quiet",
            // Whole workspace: a package alone would have its dependencies compiled again, with fewer features.
            "--workspace",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .args(target)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{} does not build", target.join(" "));
    }
    let wanted = target.last().copied().unwrap_or_default();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(|name| name.as_str()) == Some(wanted))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no executable for {}", target.join(" ")))
}

/// Boots the machine and runs the suites inside it; an emulated one has one CPU, so there are as many as this host has CPUs
/// for, each with its share of the tests.
fn in_machine(binaries: &[PathBuf], filters: &[String]) -> Result<Tally> {
    progress::say(&format!("test: the machine tier runs {}", machine::place()));
    let machines = machine::at_once();
    let myself = own_copy()?;
    let run = |index| one_machine(&myself, binaries, filters, Share { index, of: machines });
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..machines).map(|index| scope.spawn(move || run(index))).collect();
        threads.into_iter().try_for_each(|thread| {
            tally +=
                thread.join().map_err(|_| anyhow::anyhow!("a thread that runs a machine panicked"))??;
            Ok::<_, anyhow::Error>(())
        })
    })?;
    Ok(tally)
}

/// This program under a name of its own: the suites' builds may have replaced the file that it was started from, and the
/// machine starts programs by their names.
fn own_copy() -> Result<PathBuf> {
    let copy = workspace::target().join("xtask-in-machine");
    let _ = fs::remove_file(&copy);
    fs::copy("/proc/self/exe", &copy).context("cannot copy xtask for the machine")?;
    Ok(copy)
}

fn one_machine(myself: &Path, binaries: &[PathBuf], filters: &[String], share: Share) -> Result<Tally> {
    let result = workspace::target().join(format!("machine-result-{}", share.index));
    let mut command: Vec<OsString> =
        vec![myself.into(), "run-tests".into(), result.clone().into(), share.to_string().into()];
    command.extend(binaries.iter().map(|path| path.clone().into_os_string()));
    command.push("--".into());
    command.extend(filters.iter().map(OsString::from));
    let attempt = || {
        let _ = fs::remove_file(&result);
        let outcome = machine::run(command.clone(), Clock::Wall, Some(MACHINE_LIMIT))?;
        let text = fs::read_to_string(&result)
            .with_context(|| format!("the tests in the machine ended early (exit code {})", outcome.code))?;
        Tally::parse(&text).context("cannot understand the machine's result")
    };
    attempt().or_else(|error| {
        progress::say(&format!("test: the machine did not finish, trying once more: {error:#}"));
        attempt()
    })
}

//! `cargo xtask lint`: what can be checked without running anything.
//!
//! Responsible for the list of checks; every one is run, whatever the others said.

mod licences;
mod unsafe_blocks;

use crate::cargo::cargo;
use crate::process::run;
use crate::test::tally::Tally;

use anyhow::Result;

/// A check's name and the check.
type Check = (&'static str, fn() -> Result<()>);

const CHECKS: &[Check] = &[
    ("format", format),
    ("clippy", clippy),
    ("licences of dependencies", licences::check),
    ("unsafe blocks", unsafe_blocks::count),
];

/// Runs every check and prints a line for each.
pub(crate) fn all() -> Tally {
    let mut tally = Tally::default();
    println!("lint:");
    for (name, check) in CHECKS {
        let result = check();
        match &result {
            Ok(()) => println!("  ok      {name}"),
            Err(error) => println!("  FAILED  {name}: {error:#}"),
        }
        tally += Tally::of(result.is_ok());
    }
    println!("lint: {tally}");
    tally
}

/// Exit code 0 when all is well.
pub(crate) fn command() -> Result<u8> {
    crate::setup::ensure()?;
    Ok(u8::from(all().failed > 0))
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    // The end-to-end suites are left out of `--all-targets`, as they are of a plain `cargo test`.
    let suites = ["clippy", "--quiet", "--workspace", "--test", "host", "--test", "machine"];
    run(cargo().args(suites).args(["--", "-D", "warnings"]))
}

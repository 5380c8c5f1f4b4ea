//! `cargo xtask bench NAME`: measurements.
//!
//! Responsible for building a bench of the tests crate and running it where its figures mean something: benches of pods in
//! the KVM machine on the instruction clock, or on the host where KVM is real; benches of images and of
//! pods on disk, which need no KVM, on the host. What is measured is the bench's own subject.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvm_machine::Clock;

use crate::test::{executable, remarks, tally::Tally};
use crate::{dist, images, machine, setup, workspace};

/// Given to a bench that is only to show that it runs.
const SMOKE: &str = "--smoke";

/// Benches without a virtual machine.
const WITHOUT_MACHINE: &[&str] = &["fetch", "list"];

/// Benches that run one of the images from the registry.
const WITH_REGISTRY: &[&str] = &["fs"];

/// A bench boots dozens of virtual machines, each of which may take seconds of real time.
const TIME_LIMIT: Duration = Duration::from_secs(1800);
const SMOKE_TIME_LIMIT: Duration = Duration::from_secs(300);

/// Runs one bench; arguments after its name are passed on.
pub(crate) fn command(arguments: &[OsString]) -> Result<u8> {
    let benches = names();
    let name = arguments.first().and_then(|name| name.to_str()).unwrap_or_default();
    if !benches.iter().any(|known| known == name) {
        bail!("usage: cargo xtask bench NAME; there are: {}", benches.join(" "));
    }
    setup::ensure()?;
    dist::build()?;
    if WITH_REGISTRY.contains(&name) {
        images::oci::publish_all()?;
    }
    run(name, arguments.get(1..).unwrap_or_default(), Clock::Instructions, TIME_LIMIT)
}

/// Runs every bench for a moment, to show that it still works. As with tests, one that fails has a second try.
pub(crate) fn smoke() -> Result<Tally> {
    let mut tally = Tally::default();
    for name in names() {
        let mut works = smokes(&name);
        if !works {
            works = smokes(&name);
            remarks::tried_again(&format!("bench {name}"), works);
        }
        tally += Tally::of(works);
    }
    Ok(tally)
}

fn smokes(name: &str) -> bool {
    // Nobody asks for figures here, and the emulator stops a guest for good more rarely by this clock.
    let code = run(name, &[SMOKE.into()], Clock::Wall, SMOKE_TIME_LIMIT);
    let works = matches!(code, Ok(0));
    println!("  {}  {name}", if works { "ok    " } else { "FAILED" });
    if let Err(error) = code {
        println!("      {error:#}");
    }
    works
}

fn run(name: &str, arguments: &[OsString], clock: Clock, time_limit: Duration) -> Result<u8> {
    let program = executable(&["--bench", name])?;
    if WITHOUT_MACHINE.contains(&name) {
        let status = Command::new(program).args(arguments).current_dir(workspace::root()).status();
        let code = status.with_context(|| format!("starting bench {name}"))?.code();
        return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX));
    }
    let mut command = vec![program.into_os_string()];
    command.extend_from_slice(arguments);
    Ok(machine::run(command, clock, Some(time_limit))?.code)
}

/// The benches of the tests crate, sorted.
fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(workspace::root().join("tests/benches"))
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

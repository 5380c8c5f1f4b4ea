//! `cargo xtask machine`: a command where KVM works.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvm_machine::{Clock, Job, Outcome, Place};

use crate::{progress, setup, workspace};

/// Enough for several pods beside the page cache of the whole suite.
const MEMORY_MIB: u32 = 6144;

/// Each has its memory, and a boot of half a minute that pays only when it has enough to do.
const MAX_MACHINES: usize = 2;

/// Variables with these prefixes reach the command.
const PASSED_ON: &[&str] = &["RKT_", "RUST_"];

/// Runs the command given on the command line; the exit code is the command's.
pub(crate) fn command(arguments: &[OsString]) -> Result<u8> {
    let mut clock = Clock::Wall;
    let mut phases = false;
    let mut time_limit = None;
    let mut rest = arguments.iter();
    let command: Vec<OsString> = loop {
        match rest.next().map(|argument| argument.to_str()) {
            Some(Some("--icount")) => clock = Clock::Instructions,
            Some(Some("--phases")) => phases = true,
            Some(Some("--limit")) => {
                let seconds =
                    rest.next().and_then(|value| value.to_str()).and_then(|value| value.parse().ok());
                time_limit = Some(Duration::from_secs(seconds.context("--limit needs a number of seconds")?));
            }
            Some(Some("--")) => break rest.cloned().collect(),
            Some(other) => bail!("unknown option {:?}; usage: cargo xtask machine [--icount] -- CMD…", other),
            None => bail!("no command; usage: cargo xtask machine [--icount] -- CMD…"),
        }
    };
    setup::ensure()?;
    let outcome = run(command, clock, time_limit)?;
    if phases {
        for phase in &outcome.phases {
            progress::say(&format!("machine: {:8} after {:6.2} s", phase.name, phase.reached.as_secs_f64()));
        }
    }
    Ok(outcome.code)
}

/// A fault of the emulator's needs a way around: QEMU 7.2 keeps the vector that it injects into a guest until the guest's next exit,
/// and delivers it once more, whether the guest takes interrupts or not, if it is called away before that (`helper_vmrun` sets
/// `exception_index`, and nothing clears it). A timer interrupt that comes twice waits for ever for the lock that it holds. Without
/// paravirtual ends of interrupts the first thing that an interrupt does is an exit.
const HIDE_FEATURES: (&str, &str) = ("RKT_HYPERVISOR_HIDE_KVM_FEATURES", "kvm-pv-eoi");

/// Runs `command` with the checkout and `target/dist` visible, from the current directory.
pub(crate) fn run(command: Vec<OsString>, clock: Clock, time_limit: Option<Duration>) -> Result<Outcome> {
    let root = workspace::root();
    let directory = env::current_dir().unwrap_or_else(|_| root.clone());
    let mut environment: Vec<_> = env::vars_os()
        .filter(|(name, _)| PASSED_ON.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)))
        .collect();
    if kvm_machine::place() == Place::Emulated {
        environment.push((HIDE_FEATURES.0.into(), HIDE_FEATURES.1.into()));
    }
    let job = Job {
        command,
        directory,
        environment,
        writable: root,
        cache: workspace::cache().join("machine"),
        clock,
        memory_mib: MEMORY_MIB,
        time_limit,
    };
    Ok(kvm_machine::run(&job, &|line| progress::say(line))?)
}

/// How many machines this host runs side by side without their being in each other's way.
pub(crate) fn at_once() -> usize {
    match kvm_machine::place() {
        Place::Host => 1,
        Place::Emulated => MAX_MACHINES.min(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Where commands run, for a person.
pub(crate) fn place() -> &'static str {
    match kvm_machine::place() {
        Place::Host => "on this host",
        Place::Emulated => "in an emulated machine (QEMU), because this CPU has no usable KVM",
    }
}

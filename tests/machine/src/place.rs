//! Decides where KVM works, and runs a command there when that is the host itself.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Job, MachineError, Outcome};

#[cfg(test)]
#[path = "place_test.rs"]
mod place_test;

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this host: its KVM works.
    Host,
    /// In an emulated machine.
    Emulated,
}

/// The host's KVM counts when the CPU has virtualisation extensions and the device opens. Either alone is not
/// enough: hypervisors that interpret ring 0 offer a /dev/kvm on which a real kernel takes minutes to boot.
pub(crate) fn decide() -> Place {
    let extensions = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| has_extensions(&text));
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if extensions && device { Place::Host } else { Place::Emulated }
}

pub(crate) fn has_extensions(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// The TSC's rate in kHz, from the first CPU's entry.
pub(crate) fn tsc_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    let (whole, fraction) = line.split_once(':')?.1.trim().split_once('.')?;
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<u64>().ok()? * 1000 + thousandths.parse::<u64>().ok()?)
}

pub(crate) fn run_on_host(job: &Job) -> Result<Outcome, MachineError> {
    let (program, arguments) = job.command.split_first().ok_or(MachineError::NoCommand)?;
    let start_error =
        |source| MachineError::Start { program: program.to_string_lossy().into_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&job.directory)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .spawn()
        .map_err(start_error)?;
    let status = match job.time_limit {
        None => child.wait().map_err(start_error)?,
        Some(limit) => {
            let deadline = Instant::now() + limit;
            loop {
                if let Some(status) = child.try_wait().map_err(start_error)? {
                    break status;
                }
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(MachineError::TimeLimit(limit));
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    };
    Ok(Outcome { code: exit_code(status), place: Place::Host, phases: Vec::new(), hung_boots: 0 })
}

/// A shell's way to tell an exit code and a signal in one number.
fn exit_code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(number).unwrap_or(255)
}

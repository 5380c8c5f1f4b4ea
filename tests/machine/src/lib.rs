//! Runs a command where KVM works: on this host, or in an emulated machine.
//!
//! Responsible for deciding which of the two it is, and for booting the machine, streaming the command's output and
//! returning its exit status. It knows nothing of rkt but the directory where rkt keeps its data. On a host whose CPU
//! has no virtualisation extensions the machine is QEMU's TCG with an emulated SVM CPU, on the host's own root file
//! system under a throw-away overlay; see `guest/init.sh` for what is inside.

pub mod cpio;
mod emulator;
mod error;
mod initramfs;
mod kernel;
mod place;
mod scratch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use emulator::Phase;
pub use error::MachineError;
pub use place::Place;

/// Which clock the emulated machine runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's clock: the quickest way to run tests.
    Wall,
    /// An instruction takes one virtual nanosecond, and the processor never halts: quiet enough to measure.
    Instructions,
}

/// What to run, and in which machine.
#[derive(Clone, Debug)]
pub struct Job {
    /// The program and its arguments, as seen from `directory`.
    pub command: Vec<OsString>,
    /// Working directory, the same path as on the host.
    pub directory: PathBuf,
    /// Variables set for the command beyond `PATH` and `HOME`.
    pub environment: Vec<(OsString, OsString)>,
    /// The one directory of the host that the command may change; it has the same path inside.
    pub writable: PathBuf,
    /// Where the machine's kernel is kept between runs, on the host.
    pub cache: PathBuf,
    /// The emulated machine's clock.
    pub clock: Clock,
    /// Memory of the emulated machine in MiB.
    pub memory_mib: u32,
    /// How long the command may take; without one it may take for ever.
    pub time_limit: Option<Duration>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit code of the command; 128 + N when signal N ended it.
    pub code: u8,
    /// Where it ran.
    pub place: Place,
    /// When the emulated machine reached each phase, measured from the start of the emulator; empty on the host.
    pub phases: Vec<Phase>,
    /// Boots that hung and were given up before this one.
    pub hung_boots: u32,
}

/// Runs `job` where KVM works, streaming its output to this process's stdout and stderr.
///
/// Notices about the machine itself (a hung boot, a first download) go to `notice`, a line each.
///
/// # Errors
/// When the machine cannot be prepared or booted, when it dies before the command ends, or when the time limit passes.
pub fn run(job: &Job, notice: &dyn Fn(&str)) -> Result<Outcome, MachineError> {
    match place::decide() {
        Place::Host => place::run_on_host(job),
        Place::Emulated => emulator::run(job, notice),
    }
}

/// Fetches and unpacks what the machine boots from, so that a later [`run`] needs no network.
///
/// # Errors
/// When the kernel's package cannot be fetched or unpacked.
pub fn prepare(cache: &std::path::Path, notice: &dyn Fn(&str)) -> Result<(), MachineError> {
    match place::decide() {
        Place::Host => Ok(()),
        Place::Emulated => kernel::ensure(cache, notice).map(|_| ()),
    }
}

/// Where [`run`] would run a command now.
pub fn place() -> Place {
    place::decide()
}

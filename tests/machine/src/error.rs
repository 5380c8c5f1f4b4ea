//! What can go wrong around the machine, in sentences for the person who waits for it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a command could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A tool of the host is missing or failed.
    #[error("{program} failed: {message}")]
    Tool {
        /// The tool.
        program: String,
        /// What it said, or why it could not be started.
        message: String,
    },
    /// A file of the host could not be read, written or made.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The command to run is not there.
    #[error("no command was given")]
    NoCommand,
    /// The command could not be started on the host.
    #[error("cannot start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Debian's kernel package has an unexpected content.
    #[error("the machine's kernel package {package} {problem}")]
    Kernel {
        /// The package.
        package: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine showed no sign of life.
    #[error("the machine hung while booting (after {after}), {attempts} times; its console:\n{console}")]
    Hung {
        /// The last phase it reached.
        after: &'static str,
        /// How often it was tried.
        attempts: u32,
        /// The end of its console.
        console: String,
    },
    /// The emulator ended without the command's exit status.
    #[error("the machine died (after {after}); its console:\n{console}")]
    Died {
        /// The last phase it reached.
        after: &'static str,
        /// The end of its console and what the emulator said.
        console: String,
    },
    /// The command took too long.
    #[error("the command did not end within {} s", .0.as_secs())]
    TimeLimit(Duration),
}

//! Calling those of stage1's programs that work on the apps of a running pod.
//!
//! Responsible for: their environment, directory, arguments and output. Must not know: what was prepared for them, what
//! happens inside. Follows rkt-reference.md 4.7.

use std::ffi::OsString;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use appc::ImageManifest;
use rustix::fs::MemfdFlags;

use super::{Entrypoint, Stage1Manifest};
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::log::Log;
use crate::pod::assemble::stage1_root;

/// Exit code by which stage1 says that it does not know the app (systemd's for an unknown unit).
const UNKNOWN_APP: i32 = 5;

/// What is repeated of the output of a program that failed. Its last words are what counts, and a page is enough of them.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024;

/// What is in a line that is repeated even if the program succeeds.
const WARNING: &str = ": warning: ";

/// A running pod as stage1's programs are told of it.
#[derive(Debug)]
pub struct Crossing<'a> {
    pod: &'a Path,
    stage1: &'a ImageManifest,
    /// stage1's enter, by which its programs get into the pod.
    enter: PathBuf,
    pid: i32,
    log: Log,
}

/// How such a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Done,
    /// stage1 does not know the app.
    UnknownApp,
    /// Without success; the text says how.
    Failed(String),
}

impl Outcome {
    /// The error of a program that was expected to succeed.
    pub fn expect_done(self) -> Result<()> {
        match self {
            Outcome::Done => Ok(()),
            Outcome::UnknownApp => Err(Stage0Error::refused(format!("exit status {UNKNOWN_APP}"))),
            Outcome::Failed(how) => Err(Stage0Error::refused(how)),
        }
    }
}

impl<'a> Crossing<'a> {
    /// `pid` is the pod's first process. Errors: stage1 has no enter.
    pub fn new(pod: &'a Path, stage1: &'a ImageManifest, pid: i32, log: Log) -> Result<Self> {
        let enter = Stage1Manifest(stage1).entrypoint(Entrypoint::Enter)?;
        Ok(Crossing { pod, stage1, enter: stage1_root(pod).join(enter), pid, log })
    }

    /// stage1's manifest.
    pub const fn stage1(&self) -> Stage1Manifest<'a> {
        Stage1Manifest(self.stage1)
    }

    /// Whether stage1's programs shall say more.
    pub const fn is_debug(&self) -> bool {
        self.log.is_debug()
    }

    /// Runs a program to its end. What it writes is shown with `--debug`; its warnings in any case, and if it fails the end of
    /// all that, as it says why.
    pub fn run(&self, entrypoint: Entrypoint, arguments: &[OsString]) -> Result<Outcome> {
        let (mut command, program) = self.command(entrypoint, arguments)?;
        command.stdin(Stdio::null());
        if self.log.is_debug() {
            // Whatever is printed on standard output is rkt's answer, and this is none.
            command.stdout(std::io::stderr());
            return Ok(command.status().file("execute", &program)?.into());
        }
        // A file, not a pipe: nobody has to read it meanwhile, and nobody waits for processes that it was left to.
        let output = rustix::fs::memfd_create("stage1-output", MemfdFlags::CLOEXEC)
            .context("cannot keep the output of stage1")?;
        let mut output = std::fs::File::from(output);
        let copy = |file: &std::fs::File| file.try_clone().context("cannot keep the output of stage1");
        command.stdout(copy(&output)?).stderr(copy(&output)?);
        let outcome = command.status().file("execute", &program)?.into();
        let failed = matches!(outcome, Outcome::Failed(_));
        let text = end_of(&mut output).context("cannot read the output of stage1")?;
        let wanted = text.lines().filter(|line| failed || line.contains(WARNING));
        wanted.for_each(|line| self.log.repeat(line));
        Ok(outcome)
    }

    /// Replaces this process by a program, which inherits standard input and both outputs. Returns only if that fails.
    pub fn exec(&self, entrypoint: Entrypoint, arguments: &[OsString]) -> Stage0Error {
        let (mut command, program) = match self.command(entrypoint, arguments) {
            Ok(command) => command,
            Err(error) => return error,
        };
        match Err::<(), _>(command.exec()).file("execute", &program) {
            Err(error) => error,
            Ok(()) => Stage0Error::refused("cannot execute stage1"),
        }
    }

    fn command(&self, entrypoint: Entrypoint, arguments: &[OsString]) -> Result<(Command, PathBuf)> {
        let program = stage1_root(self.pod).join(Stage1Manifest(self.stage1).entrypoint(entrypoint)?);
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .current_dir(self.pod)
            .env_clear()
            .env("RKT_STAGE1_ENTERCMD", &self.enter)
            .env("RKT_STAGE1_ENTERPID", self.pid.to_string())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Ok((command, program))
    }
}

impl From<std::process::ExitStatus> for Outcome {
    fn from(status: std::process::ExitStatus) -> Self {
        match status.code() {
            Some(0) => Outcome::Done,
            Some(UNKNOWN_APP) => Outcome::UnknownApp,
            Some(code) => Outcome::Failed(format!("exit status {code}")),
            None => Outcome::Failed(status.to_string()),
        }
    }
}

fn end_of(file: &mut std::fs::File) -> std::io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(MAX_OUTPUT_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

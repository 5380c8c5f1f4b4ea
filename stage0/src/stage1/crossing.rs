//! Calling those of stage1's programs that work on the apps of a running pod.
//!
//! Responsible for: their environment, directory and arguments. Must not know: what was prepared for them, what happens
//! inside. Follows rkt-reference.md 4.7.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use appc::ImageManifest;

use super::{Entrypoint, Stage1Manifest};
use crate::error::{FileContext, Result, Stage0Error};
use crate::pod::assemble::stage1_root;

/// A running pod as stage1's programs are told of it.
#[derive(Debug)]
pub struct Crossing<'a> {
    pod: &'a Path,
    stage1: &'a ImageManifest,
    /// stage1's enter, by which its programs get into the pod.
    enter: PathBuf,
    pid: i32,
}

impl<'a> Crossing<'a> {
    /// `pid` is the pod's first process. Errors: stage1 has no enter.
    pub fn new(pod: &'a Path, stage1: &'a ImageManifest, pid: i32) -> Result<Self> {
        let enter = Stage1Manifest(stage1).entrypoint(Entrypoint::Enter)?;
        Ok(Crossing { pod, stage1, enter: stage1_root(pod).join(enter), pid })
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

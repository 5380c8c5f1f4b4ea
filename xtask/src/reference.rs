//! The program that knows rkt's command line: manual pages, and the list of commands and flags.
//!
//! Responsible for building it. It is an example of stage0's, compiled for development like the tests, because the product
//! carries neither what makes manual pages nor the list.

use std::process::Command;

use anyhow::Result;

use crate::cargo::cargo;
use crate::process::run;
use crate::workspace;

/// The program, to be run with `man DIRECTORY` or `json`.
pub(crate) fn program() -> Result<Command> {
    run(cargo().args(["build", "--quiet", "--workspace", "--example", "rkt-reference"]))?;
    Ok(Command::new(workspace::target().join("debug/examples/rkt-reference")))
}

//! rkt stage0: images, trust, store and pods on disk.

// These macros panic when the reader of the output is gone; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod clock;
mod commands;
mod config;
mod error;
mod extract;
mod group;
mod image;
mod keystore;
mod log;
mod output;
mod pod;
mod stage1;
mod store;
mod table;

#[cfg(test)]
mod table_test;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os().collect()))
}

//! The `rkt` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rkt::run(std::env::args_os().collect()))
}

//! The one way to build, run, test and measure.
//!
//! Responsible for finding the command by its name; each command is a file of its own. See `help` for what there is.

mod images;
mod kernel;
mod machine;
mod process;
mod progress;
mod setup;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup                    install what is missing (Debian packages), say what
  images                   build the example app images of images/ into target/dist/images/
  kernel                   build the guest kernel (KERNEL_SRC=DIR: from another source tree), print its path
  machine [OPTIONS] -- CMD…  run CMD where KVM works: on this host, or in an emulated machine that sees the host's
                           files (read-only, changes are dropped) and this checkout (writable)
             --icount      on the instruction clock: one CPU, an instruction is a nanosecond; for measuring
             --limit SECS  give up after SECS
             --phases      say when each phase of the boot was reached
  help                     this text
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            progress::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<u8> {
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.to_string_lossy(), rest),
        None => ("help".into(), [].as_slice()),
    };
    match name.as_ref() {
        "help" | "--help" | "-h" => print!("{HELP}"),
        "setup" => setup::command()?,
        "kernel" => kernel::command()?,
        "images" => {
            for image in images::build_all()? {
                println!("{}", image.display());
            }
        }
        "machine" => return machine::command(rest),
        other => bail!("unknown command {other:?}; `cargo xtask help` lists them"),
    }
    Ok(0)
}

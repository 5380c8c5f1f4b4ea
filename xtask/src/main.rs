//! The one way to build, run, test and measure.
//!
//! Responsible for finding the command by its name; each command is a file of its own. See `help` for what there is.

mod bench;
mod cargo;
mod demo;
mod dist;
mod faults;
mod fuzz;
mod images;
mod kernel;
mod lint;
mod machine;
mod net_plugins;
mod prepush;
mod process;
mod progress;
mod reference;
mod setup;
mod test;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
usage: cargo xtask COMMAND

See it work:
  demo                       signed images, a service and a CI job in virtual machines, step by step
  test [TIER…] [-- FILTER…]  run the tests and count them; tiers, in this order when none is named:
                               unit     pure logic; needs nothing
                               host     rkt with a stub stage1, on this host; needs root; a command, flag or value of
                                        rkt that no test uses is a failure (target/coverage/command-line.md)
                               machine  whole pods where KVM works
                               bench    every bench, for a moment
  bench NAME [ARG…]          measure, in the KVM machine on the instruction clock (wall time where KVM is real)
  fuzz [TARGET…] [--seconds N | --runs N] [--planted]
                             fuzz what reads strangers' bytes (300 s a target), and keep what is new in tests/fuzz/corpus;
                             --planted: with a bug in each target, which must be found

Work on it:
  machine [OPTION…] -- CMD…  run CMD where KVM works: on this host, or in an emulated machine that sees the host's files
                             (changes to them are dropped) and this checkout (writable); exits with CMD's exit code
            --icount           on the instruction clock: one CPU, an instruction is a nanosecond; for measuring
            --limit SECS       give up after SECS
            --phases           say when each phase of the boot was reached
  lint                       formatting, clippy, licences of dependencies, number of unsafe blocks
  prepush                    everything continuous integration runs: lint and all tiers, all failures in one report

Build it:
  setup                      install the Debian packages that are missing, say which and what for
  kernel                     build the guest kernel and print its path (KERNEL_SRC=DIR: from another source tree)
  images                     build the example app images of images/ into target/dist/images/, and put those of
                             images/oci/ into the storage of a registry
  dist                       build everything into target/dist/: rkt, stage1-kvm.aci, kernel, images, manual pages

Every command does the setup and the builds it needs by itself. What is expensive and does not depend on the checkout
(kernels) is kept in ~/.cache/rkt-xtask.
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
        "dist" => dist::command()?,
        "demo" => return demo::command(),
        "bench" => return bench::command(rest),
        "fuzz" => return fuzz::command(rest),
        "test" => return test::command(rest),
        "run-tests" => test::runner::command(rest)?,
        "lint" => return lint::command(),
        "prepush" => return prepush::command(),
        "images" => {
            setup::ensure()?;
            for image in images::build_all()? {
                println!("{}", image.display());
            }
            println!("{}", images::oci::publish_all()?.display());
        }
        "machine" => return machine::command(rest),
        other => bail!("unknown command {other:?}; `cargo xtask help` lists them"),
    }
    Ok(0)
}

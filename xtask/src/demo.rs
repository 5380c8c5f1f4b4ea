//! `cargo xtask demo`: signed images, a service and a sandbox in virtual machines, command by command. What is shown, and what
//! is checked, is in `tests/src/bin/rkt-demo/`; here it is given the product, images, and a place where KVM works.

use std::time::Duration;

use anyhow::Result;
use kvm_machine::Clock;

use crate::cargo::cargo;
use crate::progress::say;
use crate::{dist, images, machine, process, setup, workspace};

/// Far more than the demo takes in an emulated machine on a loaded host.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Builds what is needed and runs the demo; returns its exit code.
pub(crate) fn command() -> Result<u8> {
    setup::ensure()?;
    dist::build()?;
    images::oci::publish_all()?;
    process::run(cargo().args(["build", "--quiet", "--package", "rkt-tests", "--bin", "rkt-demo"]))?;
    let driver = workspace::target().join("debug/rkt-demo");
    say(&format!("demo: it runs {}", machine::place()));
    Ok(machine::run(vec![driver.into()], Clock::Wall, Some(TIME_LIMIT))?.code)
}

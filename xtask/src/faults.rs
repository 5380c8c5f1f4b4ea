//! What the tests of crash safety kill: rkt and stage1-kvm.aci with labelled points (`fault::point`), in target/faults.
//!
//! Responsible for building them beside the product and never in its place. Must not know what the points are; the tests
//! find them in the source.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::cargo;
use crate::process::run;
use crate::progress::Step;
use crate::{dist, kernel, workspace};

fn directory() -> Result<PathBuf> {
    let directory = workspace::target().join("faults");
    fs::create_dir_all(&directory).context("cannot make target/faults")?;
    Ok(directory)
}

/// `rkt` for the host tier. What it does is all that counts, so it is compiled as unit tests are: in seconds.
pub(crate) fn rkt() -> Result<()> {
    let step = Step::begin("test: compiling an rkt that can be killed at labelled points");
    run(cargo().args(["build", "--quiet", "--workspace", "--bins", "--features", "rkt/fault-injection"]))?;
    dist::place(&workspace::target().join("debug/rkt"), &directory()?.join("rkt"))?;
    step.end();
    Ok(())
}

/// `stage1-kvm.aci` for the machine tier, which has to boot pods as the product does.
pub(crate) fn stage1() -> Result<()> {
    let step = Step::begin("test: compiling a stage1 that can be killed at labelled points");
    dist::compile(&[&dist::PRODUCT[..], &["--features", "stage1/fault-injection"]].concat())?;
    let initramfs = workspace::dist().join("initramfs");
    let aci = dist::stage1_aci(&dist::built("stage1"), &kernel::ensure()?, &initramfs)?;
    dist::write(&directory()?.join("stage1-kvm.aci"), &aci)?;
    step.end();
    Ok(())
}

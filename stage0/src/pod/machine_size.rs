//! The size of a pod's virtual machine, as far as it can be judged before there is a pod.
//!
//! Responsible for: refusing what this host does not have. Must not know: flags, what the machines of a stage1 can have.
//! Follows docs/machine.md.

use appc::PodManifest;

use crate::error::{Context, Result, Stage0Error};

/// Refuses a pod whose own isolators ask for a machine that this host cannot make.
pub fn check(manifest: &PodManifest) -> Result<()> {
    let size = manifest.machine_size().context("error in the isolators of the pod")?;
    let host = rustix::system::sysinfo();
    let memory = u64::from(host.mem_unit).saturating_mul(host.totalram);
    if let Some(wanted) = size.memory.filter(|wanted| *wanted > memory) {
        return Err(Stage0Error::refused(format!(
            "the pod's machine cannot have {} MiB of memory: this host has {} MiB",
            wanted >> 20,
            memory >> 20
        )));
    }
    let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count());
    if let Some(wanted) = size.cpus.filter(|wanted| *wanted > cpus) {
        return Err(Stage0Error::refused(format!(
            "the pod's machine cannot have {wanted} CPUs: this host has {cpus}"
        )));
    }
    Ok(())
}

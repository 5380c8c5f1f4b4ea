//! The size of a pod's virtual machine, as far as it can be judged before there is a pod.
//!
//! Responsible for: refusing what this host does not have, and what no machine can have. Must not know: flags. Follows
//! docs/machine.md; the words are those of our stage1, which checks again.

use appc::PodManifest;
use appc::machine::{MAX_MACHINE_CPUS, MachineSize};

use crate::error::{Context, Result, Stage0Error};

const OF_HOST: &str = "that this host has";
const OF_MACHINE: &str = "that a virtual machine can have";

/// What this host has.
#[derive(Debug, Clone, Copy)]
struct Host {
    memory_bytes: u64,
    cpus: u32,
}

/// Refuses a pod whose own isolators ask for a machine that this host cannot make.
pub fn check(manifest: &PodManifest) -> Result<()> {
    let size = manifest.machine_size().context("error in the isolators of the pod")?;
    let host = rustix::system::sysinfo();
    let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count());
    let host = Host { memory_bytes: u64::from(host.mem_unit).saturating_mul(host.totalram), cpus };
    refusal(size, host).map_or(Ok(()), |why| Err(Stage0Error::refused(why)))
}

fn refusal(size: MachineSize, host: Host) -> Option<String> {
    if let Some(wanted) = size.memory.filter(|wanted| *wanted > host.memory_bytes) {
        return Some(format!(
            "the pod's machine cannot have {} MiB of memory: {} MiB is all {OF_HOST}",
            wanted >> 20,
            host.memory_bytes >> 20
        ));
    }
    let (limit, whose) =
        if host.cpus < MAX_MACHINE_CPUS { (host.cpus, OF_HOST) } else { (MAX_MACHINE_CPUS, OF_MACHINE) };
    let wanted = size.cpus.filter(|wanted| *wanted > limit)?;
    Some(format!("the pod's machine cannot have {wanted} CPUs: {limit} is all {whose}"))
}

#[cfg(test)]
#[path = "machine_size_test.rs"]
mod machine_size_test;

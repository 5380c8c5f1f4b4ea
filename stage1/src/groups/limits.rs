//! How much of the host a pod may take, whatever its guest and its VMM do.
//!
//! Responsible for: one pure function from the isolators of a pod and the size of its machine to limits of its processes. Must not know:
//! control groups. Follows docs/machine.md, "What a pod may take of its host", and rkt-reference 6.9.

use appc::machine::{CPU_ISOLATOR, MEMORY_ISOLATOR};
use appc::{App, Isolator, PodManifest, Quantity};

use crate::isolation::{BLOCK_BANDWIDTH, BLOCK_IOPS, CPU_SHARES};
use crate::plan::Warning;
use crate::sizing::Size;

/// Isolators of a pod that have an effect.
pub const OF_POD: [&str; 5] = [MEMORY_ISOLATOR, CPU_ISOLATOR, CPU_SHARES, BLOCK_BANDWIDTH, BLOCK_IOPS];

const MIB: u64 = 1 << 20;

/// What the VMM and the file server take for themselves: 5 MiB as measured, buffers of sockets and network cards, and the kernel's
/// own records of all of it.
const OVERHEAD: u64 = 64 * MIB;

/// One part of the guest's memory in so many is what page tables take of it: the VMM's, the file server's and KVM's, 1/512 each.
const PAGE_TABLES: u64 = 64;

/// Files take as much as the guest's memory again: pages of files, which the kernel takes back when the limit is reached, and what it
/// has to remember of each file that the guest remembers, which costs both about the same. At least this much.
const LEAST_FILES: u64 = 256 * MIB;

/// Between where the kernel begins to hold the pod up and where it kills: what is on its way to a slow disk.
const RESERVE: u64 = 64 * MIB;

/// Half a processor, for what VMM and file server do beside the guest's own work.
const CPU_OVERHEAD_MILLI: u64 = 500;

/// Shares of who says nothing (cgroups version 1, `cpu.shares`).
const SHARES: u64 = 1024;

/// Threads beside those of virtual CPUs: of VMM and file server, of the kernel for each of a machine's network queues, and two for each
/// connection and caller that the port forwarder serves at most (256 and 128).
const THREADS: u64 = 1024;

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory from which on the kernel takes memory of files back, and slows down whoever needs more.
    pub memory_high: u64,
    /// Bytes that there never are more of, in memory and swap.
    pub memory_max: u64,
    /// Threads and processes.
    pub threads: u64,
    /// Thousandths of a processor, once the guest has started.
    pub cpu_milli: Option<u64>,
    /// Weight beside others who want the same processors.
    pub cpu_shares: Option<u64>,
    /// Bytes a second of each disk in either direction.
    pub bytes_per_second: Option<u64>,
    /// Operations a second of each disk in either direction.
    pub operations_per_second: Option<u64>,
}

/// Those of a pod with these apps, in a machine of this size. Apps that may be joined by others count for what only all of them together
/// can limit as if the others had none.
pub fn limits(pod: &PodManifest, apps: &[&App], size: Size, may_grow: bool) -> Limits {
    let guest = u64::from(size.memory_mib) * MIB;
    let high = guest + guest / PAGE_TABLES + OVERHEAD + guest.max(LEAST_FILES);
    let sum = |name: &'static str, amount: fn(Quantity) -> i128| match of_pod(pod, name, amount) {
        None if !may_grow => sum_of_apps(apps, name, amount),
        own => own,
    };
    let cpu = sum(CPU_ISOLATOR, |limit| limit.milli_value());
    Limits {
        memory_high: high,
        memory_max: high + RESERVE,
        threads: u64::from(size.vcpus) + THREADS,
        cpu_milli: cpu.map(|milli| milli.saturating_add(CPU_OVERHEAD_MILLI)),
        cpu_shares: shares(pod, apps),
        bytes_per_second: sum(BLOCK_BANDWIDTH, |limit| limit.value()),
        operations_per_second: sum(BLOCK_IOPS, |limit| limit.value()),
    }
}

/// What is said of an app's limit that is not in force because others of the pod have none.
pub fn unapplied(name: &str, app: &App, limits: &Limits) -> Vec<Warning> {
    let given = [(BLOCK_BANDWIDTH, limits.bytes_per_second), (BLOCK_IOPS, limits.operations_per_second)];
    let lost =
        given.into_iter().filter(|(isolator, limit)| limit.is_none() && app.isolator(isolator).is_some());
    lost.map(|(isolator, _)| unapplied_alone(name, isolator)).collect()
}

/// The same of an app that is added to a pod, whose limits are settled.
pub fn unapplied_later(name: &str, app: &App) -> Vec<Warning> {
    let isolators = [BLOCK_BANDWIDTH, BLOCK_IOPS].into_iter();
    isolators.filter(|one| app.isolator(one).is_some()).map(|one| unapplied_alone(name, one)).collect()
}

fn unapplied_alone(name: &str, isolator: &str) -> Warning {
    let text = format!(
        "warning: isolator {isolator} of app {name:?} is not applied: it is in force for a pod as a whole, if all of its apps have one"
    );
    Warning { subsystem: "stage1", text }
}

fn of_pod(pod: &PodManifest, name: &str, amount: fn(Quantity) -> i128) -> Option<u64> {
    let own = pod.isolators.iter().rev().find(|isolator| isolator.name.as_str() == name);
    positive(amount(own?.limit()?))
}

/// What all apps may have together, if each has a limit.
fn sum_of_apps(apps: &[&App], name: &str, amount: fn(Quantity) -> i128) -> Option<u64> {
    let mut each = apps.iter().map(|app| positive(amount(app.isolator(name)?.limit()?)));
    let sum = each.try_fold(0, |sum: u64, limit| Some(sum.saturating_add(limit?)));
    sum.filter(|sum| *sum > 0)
}

/// The pod's, else the sum of the apps' shares if one of them has any, or a request from which they follow as in Kubernetes. What apps say is
/// the word of their images, which is none for more than everybody has: no tenant gets ahead of another by it.
fn shares(pod: &PodManifest, apps: &[&App]) -> Option<u64> {
    let own = pod.isolators.iter().rev().find(|isolator| isolator.name.as_str() == CPU_SHARES);
    own.and_then(|isolator| isolator.value.as_u64()).or_else(|| Some(shares_of_apps(apps)?.min(SHARES)))
}

fn shares_of_apps(apps: &[&App]) -> Option<u64> {
    let of = |app: &App| {
        let shares = app.isolator(CPU_SHARES).and_then(|isolator| isolator.value.as_u64());
        let request =
            app.isolator(CPU_ISOLATOR).and_then(request).and_then(|cpu| positive(cpu.milli_value()));
        shares.or_else(|| Some(request?.saturating_mul(SHARES) / 1000))
    };
    let each: Vec<Option<u64>> = apps.iter().map(|app| of(app)).collect();
    let any = each.iter().any(Option::is_some);
    any.then(|| each.into_iter().fold(0, |sum: u64, shares| sum.saturating_add(shares.unwrap_or(SHARES))))
}

fn request(isolator: &Isolator) -> Option<Quantity> {
    isolator.value.get("request")?.as_str()?.parse().ok()
}

fn positive(amount: i128) -> Option<u64> {
    u64::try_from(amount).ok().filter(|amount| *amount > 0)
}

//! The VMM process.
//!
//! Responsible for: giving up everything but the descriptors the VM is made of, then building and running it. Must not
//! know: pods, files, the network. Follows docs/threat-model.md, "The VMM"; design.md, decision 4.
//!
//! It is confined as `jail` says: its root directory is an empty, read-only tmpfs, it has no network and no
//! capability. What it holds is guest memory, /dev/kvm, the kernel and the initramfs (open for reading), the two sockets
//! of its devices, the queues of its taps, `/dev/vhost-net` if that was asked for, and the write end of a pipe for the kernel's messages and its own with `--debug`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use vmm::{
    Confinement, Exit, FsConfig, KvmFeatures, LOG_MARK, Logger, MemoryFile, Metrics, NetConfig, NetLimits,
    Vm, VmConfig, VsockConfig,
};

use crate::diagnostics::sentence;
use crate::jail::{Confined, Jail, JailError, Reach, Terms};
use crate::network::Card;
use crate::plan::VmPlan;
use crate::process::{self, Child, Company, Place, ProcessError};

/// What the VM is made of, all of it open.
#[derive(Debug)]
pub struct VmParts {
    /// Features of KVM's that the guest is not offered.
    pub hidden_features: KvmFeatures,
    /// Guest memory: a confined process could not ask for huge pages.
    pub memory: MemoryFile,
    /// `/dev/kvm`.
    pub kvm: File,
    /// `vmlinux`.
    pub kernel: File,
    /// The initial RAM file system.
    pub initramfs: File,
    /// Connection to the file server.
    pub files: UnixStream,
    /// Connection to the supervisor that the guest gets when it calls the control port.
    pub control: UnixStream,
    /// Where kernel messages and the VMM's go.
    pub serial: Option<File>,
    /// Network cards.
    pub cards: Vec<Card>,
    /// Where the VM counts.
    pub metrics: &'static Metrics,
    /// What each of them passes.
    pub limits: NetLimits,
    /// `/dev/vhost-net` for each pair of queues of each of them, where the host's kernel is to serve these.
    pub vhost: Vec<Vec<File>>,
}

/// What it may have open, which is also what its table of descriptors is made for, and write to files. Its filter keeps it from
/// having more threads or processes.
const LIMITS: [(Resource, u64); 2] = [(Resource::Nofile, 1024), (Resource::Fsize, 0)];

/// How the VMM ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmmEnd {
    /// The guest reset the VM: its orderly end, or its kernel's panic.
    Reset,
    /// A virtual CPU could not even report an exception.
    TripleFault {
        /// Index of the virtual CPU.
        vcpu: u8,
        /// Its registers.
        registers: String,
    },
    /// Something else; the text says what.
    Other(String),
    /// It could not be built or run.
    Failed(String),
}

/// Starts the VMM, in these control groups.
pub fn start(plan: &VmPlan, parts: VmParts, terms: Terms, place: &Place) -> Result<Child, ProcessError> {
    let mut keep = vec![
        parts.memory.as_raw_fd(),
        parts.kvm.as_raw_fd(),
        parts.kernel.as_raw_fd(),
        parts.initramfs.as_raw_fd(),
        parts.files.as_raw_fd(),
        parts.control.as_raw_fd(),
    ];
    keep.extend(parts.serial.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(parts.cards.iter().flat_map(|card| &card.queues).map(AsRawFd::as_raw_fd));
    keep.extend(parts.vhost.iter().flatten().map(AsRawFd::as_raw_fd));
    let work = move || run(plan, parts, terms).unwrap_or_else(VmmEnd::Failed);
    process::spawn_in(place, "VMM", Company::with(terms.demand), &keep, work)
}

fn run(plan: &VmPlan, parts: VmParts, terms: Terms) -> Result<VmmEnd, String> {
    confine(terms).map_err(|error| sentence(&error))?.tell_missing();
    share_one_heap();
    process::report_refused_calls().map_err(|error| sentence(&error))?;
    if let Some(Ok(log)) = parts.serial.as_ref().map(File::try_clone) {
        Logger::new(log, &[LOG_MARK]).install();
    }
    let vm = Vm::build(config(plan, parts)).map_err(|error| sentence(&error))?;
    Ok(match vm.run().map_err(|error| sentence(&error))? {
        Exit::Reset => VmmEnd::Reset,
        Exit::TripleFault { vcpu, registers } => VmmEnd::TripleFault { vcpu, registers },
        other => VmmEnd::Other(format!("{other:?}")),
    })
}

/// Everything but the filters of system calls, which its threads put up.
pub fn confine(terms: Terms) -> Result<Jail<Confined>, JailError> {
    let jail = Jail::enter(terms.demand)?.empty_root()?.become_user(terms.user)?;
    jail.keep_capabilities(CapabilitySet::empty())?.restrict(&Reach::Nothing, &LIMITS)
}

/// Otherwise each thread that allocates has a heap of its own, which would take its filter more calls and the host more memory.
fn share_one_heap() {
    // SAFETY: changes a setting of the allocator, in a process of one thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

fn config(plan: &VmPlan, parts: VmParts) -> VmConfig {
    VmConfig {
        kvm: parts.kvm,
        vcpus: plan.vcpus,
        hidden_features: parts.hidden_features,
        memory: parts.memory,
        kernel: parts.kernel,
        initramfs: parts.initramfs,
        command_line: plan.command_line.clone(),
        fs: Some(FsConfig { tag: guest_api::SHARE_TAG.to_owned(), backend: parts.files }),
        vsock: Some(VsockConfig {
            guest_cid: guest_api::GUEST_CID,
            guest_to_host: vec![(guest_api::CONTROL_PORT, parts.control)],
            host_to_guest: None,
        }),
        serial: parts.serial,
        metrics: parts.metrics,
        net: network_cards(parts.cards, parts.limits, parts.vhost),
        confinement: Some(Confinement {
            device_thread: || filters::DEVICES.apply(),
            vcpu_thread: || filters::VCPU.apply(),
        }),
    }
}

fn network_cards(cards: Vec<Card>, limits: NetLimits, vhost: Vec<Vec<File>>) -> Vec<NetConfig> {
    let card = |(card, vhost): (Card, _)| NetConfig {
        queues: card.queues,
        mac: card.mac,
        mtu: Some(card.mtu),
        limits,
        vhost,
    };
    cards.into_iter().zip(vhost).map(card).collect()
}

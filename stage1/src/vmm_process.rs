//! The VMM process.
//!
//! Responsible for: giving up everything but the descriptors the VM is made of, then building and running it. Must not
//! know: pods, files, the network. Follows docs/threat-model.md, "The VMM"; design.md, decision 4.
//!
//! It is confined as `jail` says: its root directory is an empty, read-only tmpfs, it has no network and no
//! capability. What it holds is /dev/kvm, the kernel and the initramfs (open for reading), the two sockets of its
//! devices, and the write end of a pipe for kernel messages with `--debug`.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use vmm::{Exit, FsConfig, Vm, VmConfig, VsockConfig};

use crate::diagnostics::sentence;
use crate::jail::{self, Depth, Jail};
use crate::plan::VmPlan;
use crate::process::{self, Child, ProcessError};

/// What the VM is made of, all of it open.
#[derive(Debug)]
pub struct VmParts {
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
    /// Where kernel messages go.
    pub serial: Option<File>,
}

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

/// Starts the VMM.
pub fn start(plan: &VmPlan, parts: VmParts) -> Result<Child, ProcessError> {
    let mut keep: Vec<BorrowedFd<'_>> = vec![
        parts.kvm.as_fd(),
        parts.kernel.as_fd(),
        parts.initramfs.as_fd(),
        parts.files.as_fd(),
        parts.control.as_fd(),
    ];
    keep.extend(parts.serial.as_ref().map(AsFd::as_fd));
    process::spawn("VMM", &keep, || run(plan, &parts).unwrap_or_else(VmmEnd::Failed))
}

fn run(plan: &VmPlan, parts: &VmParts) -> Result<VmmEnd, String> {
    confine()?;
    let config = config(plan, parts).map_err(|error| format!("cannot duplicate a descriptor: {error}"))?;
    let vm = Vm::build(config).map_err(|error| sentence(&error))?;
    Ok(match vm.run().map_err(|error| sentence(&error))? {
        Exit::Reset => VmmEnd::Reset,
        Exit::TripleFault { vcpu, registers } => VmmEnd::TripleFault { vcpu, registers },
        other => VmmEnd::Other(format!("{other:?}")),
    })
}

fn confine() -> Result<(), String> {
    let confined = || {
        let jail = Jail::enter()?;
        let root = jail::empty_tree()?;
        jail::make_read_only(&root, Depth::Single)?;
        jail.change_root(&root)?.keep_capabilities(CapabilitySet::empty())
    };
    confined().map(drop).map_err(|error| sentence(&error))
}

fn config(plan: &VmPlan, parts: &VmParts) -> std::io::Result<VmConfig> {
    Ok(VmConfig {
        kvm: parts.kvm.try_clone()?,
        vcpus: plan.vcpus,
        memory_mib: plan.memory_mib,
        kernel: parts.kernel.try_clone()?,
        initramfs: parts.initramfs.try_clone()?,
        command_line: plan.command_line.clone(),
        fs: Some(FsConfig { tag: guest_api::SHARE_TAG.to_owned(), backend: parts.files.try_clone()? }),
        vsock: Some(VsockConfig {
            guest_cid: guest_api::GUEST_CID,
            guest_to_host: vec![(guest_api::CONTROL_PORT, parts.control.try_clone()?)],
            host_to_guest: None,
        }),
        serial: parts.serial.as_ref().map(File::try_clone).transpose()?,
    })
}

//! /dev/kvm, or what to do about its absence.
//!
//! Responsible for: opening the device and, when that fails, saying what the person at the terminal can do. Must not know:
//! what KVM is used for. Follows open(2), Documentation/virt/kvm/api.rst.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The device.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// Why there is no KVM for us.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// No such device.
    #[error(
        "{0} does not exist: load the KVM module of the processor (modprobe kvm_intel or kvm_amd); if that fails, \
         turn on virtualisation (VT-x or AMD-V) in the firmware, or nested virtualisation for a virtual machine"
    )]
    Missing(String),
    /// Not for this user.
    #[error(
        "no permission to open {path} (mode {mode:04o}, owner {uid}, group {gid}): run rkt as root or as a member of \
         that group (usually \"kvm\"), or allow the device where rkt is confined to certain devices"
    )]
    NotPermitted {
        /// The device.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Something there that is not KVM, or broken.
    #[error("cannot open {path}")]
    Unusable {
        /// The device.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Opens the KVM device at `path` for reading and writing.
pub fn open(path: &Path) -> Result<File, KvmError> {
    File::options().read(true).write(true).open(path).map_err(|cause| {
        let name = path.display().to_string();
        match (cause.kind(), path.metadata()) {
            (io::ErrorKind::NotFound, _) => KvmError::Missing(name),
            (io::ErrorKind::PermissionDenied, Ok(found)) => KvmError::NotPermitted {
                path: name,
                mode: found.mode() & 0o7777,
                uid: found.uid(),
                gid: found.gid(),
            },
            _ => match cause.raw_os_error() {
                // A device node without a driver behind it: the module is not loaded.
                Some(libc::ENODEV | libc::ENXIO) => KvmError::Missing(name),
                _ => KvmError::Unusable { path: name, cause },
            },
        }
    })
}

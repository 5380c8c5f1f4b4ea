//! The initramfs of the emulated machine: busybox, the modules of the first stage, the two stages, and the job.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::kernel::Kernel;
use crate::{Job, MachineError, cpio};

#[cfg(test)]
#[path = "initramfs_test.rs"]
mod initramfs_test;

const BUSYBOX: &str = "/bin/busybox";

/// Needed before the root is there, and what every test of the machine needs; all others load on demand.
const MODULES: &[&str] = &[
    "virtio_mmio",
    "virtio_console",
    "virtio_blk",
    "virtio_rng",
    "9p",
    "9pnet_virtio",
    "ext4",
    "overlay",
    "kvm-amd",
    "tun",
    "vhost_net",
    "vhost_vsock",
    "fuse",
];

/// The archive for one boot.
pub(crate) fn build(job: &Job, kernel: &Kernel) -> Result<Vec<u8>, MachineError> {
    let modules = kernel.module_files(MODULES)?;
    let archive_failed =
        |source| MachineError::File { action: "write", path: "the initramfs".into(), source };
    let mut archive = cpio::Writer::new(Vec::with_capacity(16 << 20));
    let mut order = String::new();
    (|| {
        for directory in ["bin", "dev", "layers", "modules", "newroot", "proc", "sys"] {
            archive.directory(directory, 0o755)?;
        }
        archive.character_device("dev/console", 0o600, 5, 1)?;
        archive.file("init", 0o755, include_bytes!("../guest/init.sh"))?;
        archive.file("root.sh", 0o755, include_bytes!("../guest/root.sh"))?;
        archive.file("settings", 0o644, &settings(job, kernel))?;
        archive.file("command", 0o755, &command(job))
    })()
    .map_err(archive_failed)?;
    archive.file("bin/busybox", 0o755, &read(Path::new(BUSYBOX))?).map_err(archive_failed)?;
    for path in &modules {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{name}"), 0o644, &read(path)?).map_err(archive_failed)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("module-order", 0o644, order.as_bytes()).map_err(archive_failed)?;
    archive.finish().map_err(archive_failed)
}

fn settings(job: &Job, kernel: &Kernel) -> Vec<u8> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut text = Vec::new();
    assign(&mut text, "RELEASE", OsStr::new(&kernel.release));
    assign(&mut text, "MODULES", kernel.modules().as_os_str());
    assign(&mut text, "WRITABLE", job.writable.as_os_str());
    assign(&mut text, "HOST", OsStr::new(host.trim()));
    text
}

/// A script that becomes the command.
fn command(job: &Job) -> Vec<u8> {
    let mut text = b"cd ".to_vec();
    quote(&mut text, job.directory.as_os_str());
    text.extend_from_slice(b" || exit 254\n");
    for (name, value) in &job.environment {
        text.extend_from_slice(b"export ");
        assign(&mut text, &name.to_string_lossy(), value);
    }
    text.extend_from_slice(b"exec");
    for word in &job.command {
        text.push(b' ');
        quote(&mut text, word);
    }
    text.push(b'\n');
    text
}

fn assign(text: &mut Vec<u8>, name: &str, value: &OsStr) {
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    quote(text, value);
    text.push(b'\n');
}

/// Quotes a word for a POSIX shell.
pub(crate) fn quote(text: &mut Vec<u8>, word: &OsStr) {
    text.push(b'\'');
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend_from_slice(br"'\''"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
}

fn read(path: &Path) -> Result<Vec<u8>, MachineError> {
    fs::read(path).map_err(|source| MachineError::File { action: "read", path: PathBuf::from(path), source })
}

//! QEMU's microvm, beside which benches of virtual machines measure ours.
//!
//! Responsible for: the arguments that make it boot fastest with the pods' kernel. Must not know: what is measured. Follows QEMU's
//! docs/system/i386/microvm.rst.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use crate::dist;

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// The kernel's parameters in machines that are compared: no probing, no self-tests, no message but those of the first program.
pub const KERNEL_PARAMETERS: &str = "console=ttyS0 quiet loglevel=0 panic=-1 reboot=k nomodule tsc=reliable no_timer_check \
                                     random.trust_cpu=1 cryptomgr.notests 8250.nr_uarts=1";

/// Where guest memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In the process.
    Private,
    /// In a file that other processes may map, as ours is.
    File,
}

/// What [`QEMU`] is called with for a machine of one virtual CPU.
pub fn arguments(memory: Memory, mebibytes: u32, initramfs: &Path, kernel_parameters: &str) -> Vec<OsString> {
    let mut machine =
        "microvm,accel=kvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on,acpi=off".to_owned();
    let mut arguments: Vec<OsString> = Vec::new();
    if memory == Memory::File {
        machine.push_str(",memory-backend=mem");
        let file = format!("memory-backend-memfd,id=mem,size={mebibytes}M,share=on");
        arguments.extend(["-object".into(), file.into()]);
    }
    // What is kept from our guests because this machine's KVM has a fault in it is kept from this one, too.
    let hidden = env::var("RKT_HYPERVISOR_HIDE_KVM_FEATURES").unwrap_or_default();
    let hidden = hidden.split(',').filter(|name| !name.is_empty()).map(|name| format!(",{name}=off"));
    let processor: String = std::iter::once("host".to_owned()).chain(hidden).collect();
    let mebibytes = mebibytes.to_string();
    let words = ["-M", &machine, "-cpu", &processor, "-smp", "1", "-m", &mebibytes];
    arguments.extend(words.map(OsString::from));
    let bare = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"];
    arguments.extend(bare.map(OsString::from));
    // Devices speak virtio 1, as ours do.
    arguments.extend(["-global", "virtio-mmio.force-legacy=false"].map(OsString::from));
    arguments.extend(["-kernel".into(), dist::file("vmlinux").into(), "-initrd".into(), initramfs.into()]);
    arguments.extend(["-append", kernel_parameters].map(OsString::from));
    arguments
}

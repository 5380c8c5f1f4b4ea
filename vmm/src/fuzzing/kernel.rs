//! Loading a kernel.
//!
//! Responsible for: an ELF file and an initial RAM file system of which every byte is the input's. Must not know: virtual CPUs.

use std::fs::File;
use std::io::{Seek, Write};

use rustix::fs::MemfdFlags;
use vm_memory::{Address, Bytes, GuestAddress};

use super::script::Script;
use crate::arch::x86_64::boot;
use crate::arch::x86_64::kernel::{self, Entry};
use crate::memory::GuestRam;

/// Enough for the first megabyte and a small kernel above it.
const RAM_BYTES: usize = 4 << 20;

thread_local! {
    /// Made once: mapping it takes longer than loading a kernel into it.
    static RAM: Option<GuestRam> = GuestRam::from_ranges(&[(GuestAddress(0), RAM_BYTES)]).ok();
}

fn file(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("fuzzed", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// What is loaded does not overlap, and the initial RAM file system arrives unchanged. Deep: the kernel is entered by PVH.
pub fn kernel(data: &[u8]) -> bool {
    let mut script = Script::new(data);
    let initramfs = script.byte();
    let initramfs = script.bytes(usize::from(initramfs));
    let (Ok(mut image), Ok(mut archive)) = (file(script.rest()), file(initramfs)) else { return false };
    RAM.with(|ram| {
        let Some(ram) = ram else { return false };
        let Ok((entry, kernel_end)) = kernel::load(ram, &mut image) else { return false };
        let Ok(loaded) = kernel::load_initramfs(ram, &mut archive, kernel_end) else { return false };
        assert!(kernel_end <= loaded.start, "the archive is in the kernel");
        let end = loaded.start.raw_value() + loaded.size;
        assert!(end <= RAM_BYTES as u64, "the archive is not in memory");
        let mut arrived = vec![0; initramfs.len()];
        assert!(ram.read_slice(&mut arrived, loaded.start).is_ok() && arrived == initramfs);
        let written = boot::write(ram, entry, "quiet", loaded);
        assert!(written.is_ok(), "boot data do not fit: {written:?}");
        matches!(entry, Entry::Pvh(_))
    })
}

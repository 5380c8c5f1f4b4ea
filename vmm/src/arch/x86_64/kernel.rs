//! Loading the kernel and the initial RAM file system.
//!
//! Responsible for: which bytes go where above 1 MiB, and which entry point is used. Must not know: boot data structures.
//! Follows the ELF format for the kernel and Linux's Documentation/arch/x86/boot.rst for the initial RAM file system.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{KernelLoader, KernelLoaderResult};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::Error;
use crate::memory::GuestRam;

/// Where the first megabyte, with its holes and boot data, ends.
pub const HIGH_MEMORY_START: u64 = 0x10_0000;
const PAGE: u64 = 0x1000;

/// How the boot processor enters the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Linux's 64-bit boot protocol.
    Linux64(GuestAddress),
    /// The PVH protocol in 32-bit mode, for kernels whose ELF entry point is not a physical address.
    Pvh(GuestAddress),
}

/// Bytes in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// First byte.
    pub start: GuestAddress,
    /// Number of bytes.
    pub size: u64,
}

/// Loads the kernel at its physical addresses and returns how to enter it and the first address behind it.
pub fn load(ram: &GuestRam, image: &mut File) -> Result<(Entry, GuestAddress), Error> {
    let loaded = Elf::load(ram, None, image, None).map_err(Error::Kernel)?;
    Ok((entry(&loaded)?, GuestAddress(loaded.kernel_end)))
}

/// The 64-bit protocol saves the guest a mode switch, so PVH is used only where the ELF entry is no physical address.
pub fn entry(loaded: &KernelLoaderResult) -> Result<Entry, Error> {
    let elf_entry = loaded.kernel_load;
    if (HIGH_MEMORY_START..loaded.kernel_end).contains(&elf_entry.raw_value()) {
        return Ok(Entry::Linux64(elf_entry));
    }
    match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Ok(Entry::Pvh(entry)),
        _ => Err(Error::KernelEntry),
    }
}

/// Loads the initial RAM file system at the end of low memory, where the kernel does not have to move it.
pub fn load_initramfs(ram: &GuestRam, image: &mut File, kernel_end: GuestAddress) -> Result<Loaded, Error> {
    let size = image.seek(SeekFrom::End(0)).map_err(Error::Initramfs)?;
    image.rewind().map_err(Error::Initramfs)?;

    let too_small = || Error::DoesNotFit("the initial RAM file system");
    let low_end = ram.iter().next().map(|region| region.len()).ok_or_else(too_small)?;
    let start = low_end.checked_sub(size).ok_or_else(too_small)? & !(PAGE - 1);
    if start < kernel_end.raw_value() {
        return Err(too_small());
    }
    let start = GuestAddress(start);
    let bytes = usize::try_from(size).map_err(|_| too_small())?;
    ram.read_exact_volatile_from(start, image, bytes)
        .map_err(|source| Error::Initramfs(std::io::Error::other(source)))?;
    Ok(Loaded { start, size })
}

//! Guest memory: one file that only descriptors lead to, shared with the processes that serve devices.
//!
//! Responsible for: the guest-physical memory map and the backing of its RAM. Must not know: what is stored there.
//! Follows the x86 convention of a hole below 4 GiB for devices (docs/architecture.md, "Memory").

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use vm_memory::{Address, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::Error;

/// The guest's RAM as every device sees it.
pub type GuestRam = GuestMemoryMmap<()>;

/// End of the RAM below the device hole.
pub const DEVICE_HOLE_START: u64 = 0xc000_0000;
/// First address above the device hole, where RAM continues.
pub const DEVICE_HOLE_END: u64 = 0x1_0000_0000;
/// First register window of a virtio-mmio device; see [`crate::virtio::mmio`].
pub const VIRTIO_MMIO_START: u64 = 0xd000_0000;
/// Bytes from one virtio-mmio window to the next. The transport itself uses 0x100 plus configuration space.
pub const VIRTIO_MMIO_SIZE: u64 = 0x1000;
/// The I/O APIC's registers, where every x86 system has them.
pub const IOAPIC_START: u64 = 0xfec0_0000;
/// Size of the I/O APIC's register window.
pub const IOAPIC_SIZE: u64 = 0x1000;
/// The local APIC's registers, where every x86 system has them.
pub const LOCAL_APIC_START: u32 = 0xfee0_0000;
/// Four pages that VMX hosts need for real mode, inside the device hole.
pub const KVM_TSS_START: usize = 0xfffb_d000;
/// One page below them, for the identity map of VMX hosts.
pub const KVM_IDENTITY_MAP_START: u64 = 0xfffb_c000;

/// Smallest guest that holds a kernel, its boot data and an initial RAM file system.
pub const MIN_MEMORY_MIB: u32 = 64;
/// 1 TiB: physical addresses stay below the 40 bits that every 64-bit x86 processor has.
pub const MAX_MEMORY_MIB: u32 = 1024 * 1024 - 1024;

/// What a memfd is called; /proc/PID/maps puts "memfd:" in front.
const MEMFD_NAME: &str = "guest-memory";
/// What the file is called, so that the mapping has the same name either way.
const FILE_NAME: &str = "memfd:guest-memory";
const MIB: u64 = 1024 * 1024;
/// The smallest piece of memory that can be given back.
const PAGE: u64 = 4096;

/// Guest-physical address and size of each piece of RAM, in ascending order.
pub fn ram_ranges(memory_mib: u32) -> Vec<(GuestAddress, u64)> {
    let bytes = u64::from(memory_mib) * MIB;
    let low = bytes.min(DEVICE_HOLE_START);
    let mut ranges = vec![(GuestAddress(0), low)];
    if bytes > low {
        ranges.push((GuestAddress(DEVICE_HOLE_END), bytes - low));
    }
    ranges
}

/// The file behind a guest's RAM. It is made apart from the machine, because huge pages take the right to mount, which a
/// process that is confined to running the machine has not.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    mib: u32,
}

impl MemoryFile {
    /// A file for this many MiB of RAM. Pages are allocated when they are first touched.
    pub fn create(memory_mib: u32) -> Result<Self, Error> {
        if !(MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(&memory_mib) {
            return Err(Error::Config(format!(
                "{memory_mib} MiB of memory, want {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB}"
            )));
        }
        Self::of_size(memory_mib)
    }

    fn of_size(mib: u32) -> Result<Self, Error> {
        let file = match huge_page_file() {
            Ok(file) => file,
            Err(error) => {
                log::debug!("guest memory in small pages: {error}");
                memfd().map_err(|e| failed(mib)(e.into()))?
            }
        };
        file.set_len(u64::from(mib) * MIB).map_err(|e| failed(mib)(e.into()))?;
        Ok(Self { file, mib })
    }

    /// The RAM.
    pub(crate) fn map(self) -> Result<GuestRam, Error> {
        let Self { file, mib } = self;
        let mut offset = 0;
        let mut mappings = Vec::new();
        for (start, size) in ram_ranges(mib) {
            let backing = FileOffset::new(file.try_clone().map_err(|e| failed(mib)(e.into()))?, offset);
            let bytes = usize::try_from(size).map_err(|e| failed(mib)(e.into()))?;
            mappings.push((start, bytes, Some(backing)));
            offset += size;
        }
        let ram = GuestRam::from_ranges_with_files(mappings).map_err(|e| failed(mib)(e.into()))?;
        prefer_huge_pages(&ram);
        Ok(ram)
    }
}

impl AsRawFd for MemoryFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn failed(mib: u32) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Error {
    move |source| Error::Memory { mib, source }
}

/// Why memory cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Not all of it is RAM.
    #[error("{bytes} bytes at {start:#x} are not all memory")]
    NotMemory {
        /// First guest-physical address.
        start: u64,
        /// Length.
        bytes: u64,
    },
    /// The host's kernel refused.
    #[error("cannot give memory back to the host: {0}")]
    Host(Errno),
}

/// Gives the whole pages of a range of RAM back to the host. The guest finds zeros there when it uses them again; so does
/// every process that has the memory mapped.
pub fn release(ram: &GuestRam, start: GuestAddress, bytes: u64) -> Result<(), ReleaseError> {
    let not_memory = || ReleaseError::NotMemory { start: start.raw_value(), bytes };
    let region = ram.find_region(start).ok_or_else(not_memory)?;
    let first = start.raw_value().checked_sub(region.start_addr().raw_value()).ok_or_else(not_memory)?;
    let end = first.checked_add(bytes).filter(|end| *end <= region.len()).ok_or_else(not_memory)?;
    // Pieces of RAM begin at whole pages, of the guest and of the file.
    let (first, end) = (first.next_multiple_of(PAGE), end - end % PAGE);
    let backing = region.file_offset().ok_or_else(not_memory)?;
    if first >= end {
        return Ok(());
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(backing.file(), hole, backing.start() + first, end - first)
        .map_err(ReleaseError::Host)
}

/// Bytes of the host's memory that a guest's RAM takes, for tests.
#[cfg(test)]
pub fn allocated_bytes(ram: &GuestRam) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let file = ram.iter().next().and_then(|region| region.file_offset()).unwrap();
    file.file().metadata().unwrap().blocks() * 512
}

/// RAM of any size, for tests.
#[cfg(test)]
pub fn create(memory_mib: u32) -> Result<GuestRam, Error> {
    MemoryFile::of_size(memory_mib)?.map()
}

/// A file of a tmpfs of its own, which unlike a memfd can be backed by huge pages where that is asked for, whatever the
/// host's setting for shared memory is (it is off by default). Needs the right to mount.
fn huge_page_file() -> rustix::io::Result<File> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "huge", "advise")?;
    // Zero is no limit: the size of the one file bounds it.
    fsconfig_set_string(&context, "size", "0")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(&mount, FILE_NAME, flags, Mode::RUSR | Mode::WUSR)?))
}

fn memfd() -> rustix::io::Result<File> {
    rustix::fs::memfd_create(MEMFD_NAME, MemfdFlags::CLOEXEC).map(File::from)
}

/// Asks for huge pages: otherwise a guest pays an exit, and the host a fault, for every 4 KiB touched. For the boot of a
/// guest of 128 MiB that is 5,900 exits against 16, and 32 MiB of memory in use against 39.
fn prefer_huge_pages(ram: &GuestRam) {
    for region in ram.iter() {
        let bytes = region.len() as usize;
        // SAFETY: this is a whole live mapping, and the advice changes none of its contents.
        let advised = unsafe { madvise(region.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
        if let Err(error) = advised {
            log::debug!("guest memory in small pages: {error}");
        }
    }
}

/// Registers every piece of RAM as a KVM memory slot.
pub fn register(vm: &VmFd, ram: &GuestRam) -> Result<(), Error> {
    for (slot, region) in (0..).zip(ram.iter()) {
        let slot = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: region.as_ptr().addr() as u64,
        };
        // SAFETY: the region is a live mapping of exactly this size; `Vm` keeps `ram` until the VM is gone.
        unsafe { vm.set_user_memory_region(slot) }.map_err(Error::kvm("register guest memory"))?;
    }
    Ok(())
}

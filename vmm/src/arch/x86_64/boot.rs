//! What the kernel finds in memory when it starts.
//!
//! Responsible for: the boot data below 1 MiB for both boot protocols: zero page or PVH start information, memory map,
//! command line, random seed, page tables, descriptor table. Must not know: devices. Follows Linux's
//! Documentation/arch/x86/{boot,zero-page}.rst and the PVH description in Xen's docs/misc/pvh.pandoc.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::kernel::{Entry, HIGH_MEMORY_START, Loaded};
use super::mptable;
use crate::memory::GuestRam;
use crate::{Error, MAX_COMMAND_LINE_BYTES};

/// Global descriptor table for the boot processor.
pub const GDT: GuestAddress = GuestAddress(0x500);
/// PVH start information.
pub const PVH_START_INFO: GuestAddress = GuestAddress(0x6000);
const PVH_MODULES: GuestAddress = GuestAddress(0x6040);
const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x6080);
/// Linux's zero page, `struct boot_params`.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Stack of the boot processor, growing down; the kernel sets up its own at once.
pub const STACK_TOP: GuestAddress = GuestAddress(0x8ff0);
/// Page tables that map the first GiB to itself.
pub const PML4: GuestAddress = GuestAddress(0x9000);
const PAGE_DIRECTORY_POINTERS: GuestAddress = GuestAddress(0xa000);
const PAGE_DIRECTORY: GuestAddress = GuestAddress(0xb000);
const RANDOM_SEED: GuestAddress = GuestAddress(0xc000);
const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);

/// Selectors that the 64-bit boot protocol prescribes.
pub const CODE_SELECTOR: u16 = 0x10;
/// See [`CODE_SELECTOR`].
pub const DATA_SELECTOR: u16 = 0x18;
/// A task state segment, which VMX wants to be loaded on entry.
pub const TASK_SELECTOR: u16 = 0x20;

/// Bytes of host randomness for the guest: what the kernel's generator takes to count as seeded.
const SEED_BYTES: usize = 32;

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// A range of the firmware memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
    /// Usable RAM, or reserved.
    pub usable: bool,
}

/// The firmware memory map: RAM but for the stretch below 1 MiB that holds the MP table and the BIOS's place.
pub fn memory_map(ram: &GuestRam) -> Vec<MapEntry> {
    let reserved_start = mptable::ADDRESS.raw_value();
    let mut map = vec![
        MapEntry { start: 0, size: reserved_start, usable: true },
        MapEntry { start: reserved_start, size: HIGH_MEMORY_START - reserved_start, usable: false },
    ];
    for region in ram.iter() {
        let start = region.start_addr().raw_value().max(HIGH_MEMORY_START);
        let end = region.start_addr().raw_value() + region.len();
        map.push(MapEntry { start, size: end.saturating_sub(start), usable: true });
    }
    map
}

/// Writes everything that the kernel reads when it is entered at `entry`.
pub fn write(ram: &GuestRam, entry: Entry, command_line: &str, initramfs: Loaded) -> Result<(), Error> {
    let failed = |_| Error::DoesNotFit("boot data");
    // The kernel reads the terminating zero, too.
    if command_line.len() >= MAX_COMMAND_LINE_BYTES {
        return Err(Error::CommandLine(command_line.len()));
    }
    ram.write_slice(command_line.as_bytes(), COMMAND_LINE).map_err(failed)?;
    match entry {
        Entry::Linux64(_) => {
            write_page_tables(ram).map_err(failed)?;
            write_seed(ram)?;
            let page = zero_page(&memory_map(ram), command_line.len(), initramfs);
            ram.write_slice(page.bytes(), ZERO_PAGE).map_err(failed)
        }
        Entry::Pvh(_) => write_pvh(ram, &memory_map(ram), initramfs).map_err(failed),
    }
}

/// `struct boot_params`, by the offsets of Documentation/arch/x86/zero-page.rst.
pub struct ZeroPage([u8; 4096]);

impl ZeroPage {
    const E820_ENTRIES: usize = 0x1e8;
    const BOOT_FLAG: usize = 0x1fe;
    const HEADER_MAGIC: usize = 0x202;
    const VERSION: usize = 0x206;
    const LOADER: usize = 0x210;
    const LOAD_FLAGS: usize = 0x211;
    const RAMDISK_IMAGE: usize = 0x218;
    const RAMDISK_SIZE: usize = 0x21c;
    const COMMAND_LINE_POINTER: usize = 0x228;
    const KERNEL_ALIGNMENT: usize = 0x230;
    const COMMAND_LINE_SIZE: usize = 0x238;
    const SETUP_DATA: usize = 0x250;
    const E820_TABLE: usize = 0x2d0;
    const E820_ENTRY_BYTES: usize = 20;

    /// The page as the kernel reads it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn put<const N: usize>(&mut self, offset: usize, value: [u8; N]) {
        // Every offset above is a constant inside of the page.
        if let Some(slot) = self.0.get_mut(offset..offset + N) {
            slot.copy_from_slice(&value);
        }
    }
}

/// The zero page. The initial RAM file system lies below the device hole, so 32 bits hold its address.
pub fn zero_page(map: &[MapEntry], command_line_bytes: usize, initramfs: Loaded) -> ZeroPage {
    const LOADER_UNDEFINED: u8 = 0xff;
    const LOADED_HIGH: u8 = 0x01;
    const PROTOCOL_2_15: u16 = 0x020f;

    let mut page = ZeroPage([0; 4096]);
    page.put(ZeroPage::BOOT_FLAG, 0xaa55u16.to_le_bytes());
    page.put(ZeroPage::HEADER_MAGIC, *b"HdrS");
    page.put(ZeroPage::VERSION, PROTOCOL_2_15.to_le_bytes());
    page.put(ZeroPage::LOADER, [LOADER_UNDEFINED]);
    page.put(ZeroPage::LOAD_FLAGS, [LOADED_HIGH]);
    page.put(ZeroPage::RAMDISK_IMAGE, (initramfs.start.raw_value() as u32).to_le_bytes());
    page.put(ZeroPage::RAMDISK_SIZE, (initramfs.size as u32).to_le_bytes());
    page.put(ZeroPage::COMMAND_LINE_POINTER, (COMMAND_LINE.raw_value() as u32).to_le_bytes());
    page.put(ZeroPage::COMMAND_LINE_SIZE, (command_line_bytes as u32).to_le_bytes());
    page.put(ZeroPage::KERNEL_ALIGNMENT, 0x0100_0000u32.to_le_bytes());
    page.put(ZeroPage::SETUP_DATA, RANDOM_SEED.raw_value().to_le_bytes());
    page.put(ZeroPage::E820_ENTRIES, [map.len() as u8]);
    for (index, entry) in map.iter().enumerate() {
        let offset = ZeroPage::E820_TABLE + index * ZeroPage::E820_ENTRY_BYTES;
        page.put(offset, entry.start.to_le_bytes());
        page.put(offset + 8, entry.size.to_le_bytes());
        page.put(offset + 16, if entry.usable { E820_RAM } else { E820_RESERVED }.to_le_bytes());
    }
    page
}

/// A `setup_data` node with host randomness: the guest's generator is ready before its first user, without waiting for
/// interrupts.
fn write_seed(ram: &GuestRam) -> Result<(), Error> {
    const SETUP_RNG_SEED: u32 = 9;

    let mut seed = [0; SEED_BYTES];
    rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty())
        .map_err(Error::os("read random bytes"))?;
    let mut node = Vec::with_capacity(16 + SEED_BYTES);
    node.extend_from_slice(&0u64.to_le_bytes());
    node.extend_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    node.extend_from_slice(&(SEED_BYTES as u32).to_le_bytes());
    node.extend_from_slice(&seed);
    ram.write_slice(&node, RANDOM_SEED).map_err(|_| Error::DoesNotFit("boot data"))
}

/// Identity map of the first GiB in 2 MiB pages, all the 64-bit protocol asks for.
fn write_page_tables(ram: &GuestRam) -> Result<(), vm_memory::GuestMemoryError> {
    const PRESENT_WRITABLE: u64 = 0x3;
    const PRESENT_WRITABLE_LARGE: u64 = 0x83;

    ram.write_obj(PAGE_DIRECTORY_POINTERS.raw_value() | PRESENT_WRITABLE, PML4)?;
    ram.write_obj(PAGE_DIRECTORY.raw_value() | PRESENT_WRITABLE, PAGE_DIRECTORY_POINTERS)?;
    for index in 0..512u64 {
        ram.write_obj((index << 21) | PRESENT_WRITABLE_LARGE, PAGE_DIRECTORY.unchecked_add(index * 8))?;
    }
    Ok(())
}

fn write_pvh(ram: &GuestRam, map: &[MapEntry], initramfs: Loaded) -> Result<(), vm_memory::GuestMemoryError> {
    const VERSION_WITH_MEMORY_MAP: u32 = 1;

    let mut info = Vec::with_capacity(56);
    for word in [XEN_HVM_START_MAGIC_VALUE, VERSION_WITH_MEMORY_MAP, 0, 1] {
        info.extend_from_slice(&word.to_le_bytes());
    }
    let no_acpi = 0;
    for pointer in [PVH_MODULES.raw_value(), COMMAND_LINE.raw_value(), no_acpi, PVH_MEMORY_MAP.raw_value()] {
        info.extend_from_slice(&pointer.to_le_bytes());
    }
    info.extend_from_slice(&(map.len() as u32).to_le_bytes());
    info.extend_from_slice(&0u32.to_le_bytes());
    ram.write_slice(&info, PVH_START_INFO)?;

    let mut module = Vec::with_capacity(32);
    for field in [initramfs.start.raw_value(), initramfs.size, 0, 0] {
        module.extend_from_slice(&field.to_le_bytes());
    }
    ram.write_slice(&module, PVH_MODULES)?;

    let mut table = Vec::new();
    for entry in map {
        let kind = if entry.usable { XEN_HVM_MEMMAP_TYPE_RAM } else { XEN_HVM_MEMMAP_TYPE_RESERVED };
        table.extend_from_slice(&entry.start.to_le_bytes());
        table.extend_from_slice(&entry.size.to_le_bytes());
        table.extend_from_slice(&kind.to_le_bytes());
        table.extend_from_slice(&0u32.to_le_bytes());
    }
    ram.write_slice(&table, PVH_MEMORY_MAP)
}

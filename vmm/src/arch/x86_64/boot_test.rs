use linux_loader::loader::KernelLoaderResult;
use linux_loader::loader::elf::PvhBootCapability;
use vm_memory::{Address, Bytes, GuestAddress};

use crate::arch::x86_64::boot::{self, MapEntry};
use crate::arch::x86_64::kernel::{Entry, Loaded, entry};
use crate::{Error, MAX_COMMAND_LINE_BYTES, memory};

const INITRAMFS: Loaded = Loaded { start: GuestAddress(0x7f0_0000), size: 0x1234 };
const ENTRY: Entry = Entry::Linux64(GuestAddress(0x100_0000));

fn word(page: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(page[offset..offset + 4].try_into().unwrap())
}

#[test]
fn memory_map_leaves_out_the_bios_area_and_the_device_hole() {
    let ram = memory::create(4096).unwrap();

    let map = boot::memory_map(&ram);

    assert_eq!(
        map,
        [
            MapEntry { start: 0, size: 0x9_fc00, usable: true },
            MapEntry { start: 0x9_fc00, size: 0x6_0400, usable: false },
            MapEntry { start: 0x10_0000, size: 0xbff0_0000, usable: true },
            MapEntry { start: 0x1_0000_0000, size: 0x4000_0000, usable: true },
        ]
    );
}

#[test]
fn zero_page_names_command_line_and_initramfs() {
    let ram = memory::create(128).unwrap();

    boot::write(&ram, ENTRY, "console=ttyS0", INITRAMFS).unwrap();

    let mut page = [0; 4096];
    ram.read_slice(&mut page, boot::ZERO_PAGE).unwrap();
    assert_eq!(&page[0x202..0x206], b"HdrS");
    assert_eq!(word(&page, 0x218), 0x7f0_0000);
    assert_eq!(word(&page, 0x21c), 0x1234);
    assert_eq!(page[0x1e8], 3);
    let mut text = [0; 14];
    ram.read_slice(&mut text, GuestAddress(u64::from(word(&page, 0x228)))).unwrap();
    assert_eq!(&text, b"console=ttyS0\0");
}

#[test]
fn random_seed_differs_from_guest_to_guest() {
    let seeds = [0, 1].map(|_| {
        let ram = memory::create(32).unwrap();
        boot::write(&ram, ENTRY, "", INITRAMFS).unwrap();
        let node = ram.read_obj::<u64>(boot::ZERO_PAGE.unchecked_add(0x250)).unwrap();
        assert_eq!(ram.read_obj::<u32>(GuestAddress(node + 8)).unwrap(), 9);
        ram.read_obj::<[u8; 32]>(GuestAddress(node + 16)).unwrap()
    });

    assert_ne!(seeds[0], seeds[1]);
    assert_ne!(seeds[0], [0; 32]);
}

#[test]
fn command_line_that_the_kernel_would_cut_off_is_refused() {
    let ram = memory::create(32).unwrap();
    let line = "x".repeat(MAX_COMMAND_LINE_BYTES);

    let error = boot::write(&ram, ENTRY, &line, INITRAMFS).unwrap_err();

    assert!(matches!(error, Error::CommandLine(bytes) if bytes == MAX_COMMAND_LINE_BYTES));
}

#[test]
fn pvh_start_information_points_at_module_and_memory_map() {
    let ram = memory::create(128).unwrap();

    boot::write(&ram, Entry::Pvh(GuestAddress(0x100_0000)), "quiet", INITRAMFS).unwrap();

    let mut info = [0; 56];
    ram.read_slice(&mut info, boot::PVH_START_INFO).unwrap();
    assert_eq!(word(&info, 0), 0x336e_c578);
    assert_eq!(word(&info, 12), 1);
    let module = GuestAddress(u64::from(word(&info, 16)));
    assert_eq!(ram.read_obj::<[u64; 2]>(module).unwrap(), [0x7f0_0000, 0x1234]);
    let map = GuestAddress(u64::from(word(&info, 40)));
    assert_eq!(ram.read_obj::<[u64; 2]>(map).unwrap(), [0, 0x9_fc00]);
    assert_eq!(word(&info, 48), 3);
}

fn loaded(elf_entry: u64, pvh: PvhBootCapability) -> KernelLoaderResult {
    KernelLoaderResult {
        kernel_load: GuestAddress(elf_entry),
        kernel_end: 0x200_0000,
        pvh_boot_cap: pvh,
        ..Default::default()
    }
}

#[test]
fn physical_elf_entry_is_preferred_over_pvh() {
    let pvh = PvhBootCapability::PvhEntryPresent(GuestAddress(0x100_0200));

    assert_eq!(entry(&loaded(0x100_0000, pvh)).unwrap(), Entry::Linux64(GuestAddress(0x100_0000)));
}

#[test]
fn kernel_with_a_virtual_entry_point_is_entered_by_pvh() {
    let pvh = PvhBootCapability::PvhEntryPresent(GuestAddress(0x100_0200));

    assert_eq!(entry(&loaded(0xffff_ffff_8100_0000, pvh)).unwrap(), Entry::Pvh(GuestAddress(0x100_0200)));
}

#[test]
fn kernel_without_a_usable_entry_point_is_refused() {
    let error = entry(&loaded(0, PvhBootCapability::PvhEntryNotPresent)).unwrap_err();

    assert!(matches!(error, Error::KernelEntry));
}

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::memory::{self, DEVICE_HOLE_END, DEVICE_HOLE_START};

#[test]
fn small_guest_has_one_piece_of_ram_from_zero() {
    assert_eq!(memory::ram_ranges(128), [(GuestAddress(0), 128 << 20)]);
}

#[test]
fn ram_continues_above_the_device_hole() {
    let ranges = memory::ram_ranges(4096);

    assert_eq!(
        ranges,
        [
            (GuestAddress(0), DEVICE_HOLE_START),
            (GuestAddress(DEVICE_HOLE_END), (4096 << 20) - DEVICE_HOLE_START)
        ]
    );
}

#[test]
fn other_processes_can_map_every_piece() {
    let ram = memory::create(3 * 1024 + 1).unwrap();

    ram.write_obj(7u32, GuestAddress(DEVICE_HOLE_END)).unwrap();

    let region = ram.iter().last().unwrap();
    let backing = region.file_offset().unwrap();
    let mut bytes = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(backing.file(), &mut bytes, backing.start()).unwrap();
    assert_eq!(bytes, 7u32.to_ne_bytes());
}

#[test]
fn pieces_of_ram_do_not_share_pages_of_the_file() {
    let ram = memory::create(3 * 1024 + 1).unwrap();

    ram.write_obj(1u32, GuestAddress(0)).unwrap();
    ram.write_obj(2u32, GuestAddress(DEVICE_HOLE_END)).unwrap();

    assert_eq!(ram.read_obj::<u32>(GuestAddress(0)).unwrap(), 1);
}

#[test]
fn pages_above_the_device_hole_are_given_back_and_those_below_stay() {
    let ram = memory::create(3 * 1024 + 1).unwrap();
    ram.write_obj(1u32, GuestAddress(0)).unwrap();
    ram.write_obj(2u32, GuestAddress(DEVICE_HOLE_END)).unwrap();

    memory::release(&ram, GuestAddress(DEVICE_HOLE_END), 4096).unwrap();

    assert_eq!(ram.read_obj::<u32>(GuestAddress(0)).unwrap(), 1);
    assert_eq!(ram.read_obj::<u32>(GuestAddress(DEVICE_HOLE_END)).unwrap(), 0);
}

#[test]
fn range_that_reaches_into_the_device_hole_is_refused() {
    let ram = memory::create(4096).unwrap();

    let error = memory::release(&ram, GuestAddress(DEVICE_HOLE_START - 4096), 8192).unwrap_err();

    assert_eq!(error.to_string(), "8192 bytes at 0xbffff000 are not all memory");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_released_only_its_whole_pages_are_lost(start in 0..0x11_0000u64, bytes in 0..0x11_0000u64) {
        const RAM: u64 = 1 << 20;
        let ram = memory::create(1).unwrap();
        let pages: Vec<u64> = (0..RAM / 4096).map(|page| page * 4096).collect();
        pages.iter().for_each(|page| ram.write_obj(1u8, GuestAddress(page + 4095)).unwrap());

        let released = memory::release(&ram, GuestAddress(start), bytes).is_ok();

        prop_assert_eq!(released, start < RAM && start + bytes <= RAM);
        for page in pages {
            let whole = released && start <= page && page + 4096 <= start + bytes;
            prop_assert_eq!(ram.read_obj::<u8>(GuestAddress(page + 4095)).unwrap() == 0, whole);
        }
    }
}

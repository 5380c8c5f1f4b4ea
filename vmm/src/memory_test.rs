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

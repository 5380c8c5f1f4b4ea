use vm_memory::{Address, Bytes, GuestAddress};

use crate::arch::x86_64::mptable;
use crate::{MAX_VCPUS, memory};

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn pointer_and_table_have_valid_checksums_and_lengths() {
    let ram = memory::create(32).unwrap();

    mptable::write(&ram, 2).unwrap();

    let mut pointer = [0; 16];
    ram.read_slice(&mut pointer, mptable::ADDRESS).unwrap();
    assert_eq!(&pointer[..4], b"_MP_");
    assert_eq!(sum(&pointer), 0);
    let address = GuestAddress(u64::from(u32::from_le_bytes(pointer[4..8].try_into().unwrap())));
    let mut length = [0; 2];
    ram.read_slice(&mut length, address.unchecked_add(4)).unwrap();
    let mut table = vec![0; usize::from(u16::from_le_bytes(length))];
    ram.read_slice(&mut table, address).unwrap();
    assert_eq!(&table[..4], b"PCMP");
    assert_eq!(sum(&table), 0);
}

#[test]
fn only_the_first_processor_is_the_boot_processor() {
    let table = mptable::table(3);

    let processors: Vec<_> =
        table[44..].chunks(20).take(3).map(|entry| (entry[0], entry[1], entry[3])).collect();

    assert_eq!(processors, [(0, 0, 3), (0, 1, 1), (0, 2, 1)]);
}

#[test]
fn interrupt_pins_are_edge_triggered_and_active_high() {
    let table = mptable::table(1);

    let interrupts: Vec<_> = table[44 + 20 + 16..].chunks(8).filter(|entry| entry[0] == 3).collect();

    assert_eq!(interrupts.len(), 16);
    assert!(interrupts.iter().all(|entry| entry[2] == 0b0101 && entry[5] == entry[7]));
}

#[test]
fn table_of_the_largest_machine_fits() {
    let ram = memory::create(32).unwrap();

    mptable::write(&ram, MAX_VCPUS).unwrap();
}

//! The table that tells a kernel without ACPI about processors and interrupt lines.
//!
//! Responsible for: one processor entry per vCPU, one I/O APIC, and its pins as edge-triggered, active-high ISA
//! interrupts. Must not know: which device uses which pin. Follows Intel's MultiProcessor Specification 1.4, chapter 4.

use vm_memory::{Address, Bytes, GuestAddress};

use super::ioapic;
use crate::Error;
use crate::memory::{GuestRam, IOAPIC_START, LOCAL_APIC_START};

/// The last KiB of the 640 KiB below the video memory, one of the places where a kernel searches.
pub const ADDRESS: GuestAddress = GuestAddress(0x9_fc00);
/// What is left there; [`crate::MAX_VCPUS`] processors fit.
const CAPACITY: usize = 0x400;

const FLOATING_POINTER_BYTES: u64 = 16;
const HEADER_BYTES: usize = 44;
const SPECIFICATION_1_4: u8 = 4;
const LOCAL_APIC_VERSION: u8 = 0x14;
const ISA_BUS: u8 = 0;

const ENTRY_PROCESSOR: u8 = 0;
const ENTRY_BUS: u8 = 1;
const ENTRY_IO_APIC: u8 = 2;
const ENTRY_IO_INTERRUPT: u8 = 3;
const ENTRY_LOCAL_INTERRUPT: u8 = 4;

const PROCESSOR_ENABLED: u8 = 1;
const PROCESSOR_BOOT: u8 = 2;

const INTERRUPT_VECTORED: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTERNAL: u8 = 3;
/// Polarity active high (bits 0-1 = 01), trigger mode edge (bits 2-3 = 01).
const EDGE_HIGH: u16 = 0b0101;
const CONFORMS: u16 = 0;
const ALL_LOCAL_APICS: u8 = 0xff;

/// Writes the table for `vcpus` processors, whose APIC IDs count from 0.
pub fn write(ram: &GuestRam, vcpus: u8) -> Result<(), Error> {
    let table = table(vcpus);
    if table.len() + FLOATING_POINTER_BYTES as usize > CAPACITY {
        return Err(Error::DoesNotFit("the multiprocessor table"));
    }
    let table_address = ADDRESS.unchecked_add(FLOATING_POINTER_BYTES);
    ram.write_slice(&floating_pointer(table_address), ADDRESS)
        .and_then(|()| ram.write_slice(&table, table_address))
        .map_err(|_| Error::DoesNotFit("the multiprocessor table"))
}

fn floating_pointer(table: GuestAddress) -> Vec<u8> {
    let mut pointer = Vec::new();
    pointer.extend_from_slice(b"_MP_");
    pointer.extend_from_slice(&(table.raw_value() as u32).to_le_bytes());
    pointer.extend_from_slice(&[1, SPECIFICATION_1_4, 0, 0, 0, 0, 0, 0]);
    seal(&mut pointer, 10);
    pointer
}

/// Makes the bytes sum up to zero by setting the one at `checksum`.
fn seal(bytes: &mut [u8], checksum: usize) {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(slot) = bytes.get_mut(checksum) {
        *slot = sum.wrapping_neg();
    }
}

/// The configuration table, header included.
pub fn table(vcpus: u8) -> Vec<u8> {
    let io_apic_id = vcpus;
    let mut entries = Vec::new();
    for id in 0..vcpus {
        let flags = PROCESSOR_ENABLED | if id == 0 { PROCESSOR_BOOT } else { 0 };
        entries.extend_from_slice(&[ENTRY_PROCESSOR, id, LOCAL_APIC_VERSION, flags]);
        // Signature and features are those of CPUID; the kernel asks the processor itself.
        entries.extend_from_slice(&[0; 16]);
    }
    entries.extend_from_slice(&[ENTRY_BUS, ISA_BUS]);
    entries.extend_from_slice(b"ISA   ");
    entries.extend_from_slice(&[ENTRY_IO_APIC, io_apic_id, ioapic::VERSION, PROCESSOR_ENABLED]);
    entries.extend_from_slice(&(IOAPIC_START as u32).to_le_bytes());
    for pin in 0..ioapic::PINS {
        entries.extend_from_slice(&[ENTRY_IO_INTERRUPT, INTERRUPT_VECTORED]);
        entries.extend_from_slice(&EDGE_HIGH.to_le_bytes());
        entries.extend_from_slice(&[ISA_BUS, pin, io_apic_id, pin]);
    }
    for (kind, local_apic, line) in [(INTERRUPT_EXTERNAL, 0, 0), (INTERRUPT_NMI, ALL_LOCAL_APICS, 1)] {
        entries.extend_from_slice(&[ENTRY_LOCAL_INTERRUPT, kind]);
        entries.extend_from_slice(&CONFORMS.to_le_bytes());
        entries.extend_from_slice(&[ISA_BUS, 0, local_apic, line]);
    }

    let entry_count = u16::from(vcpus) + 2 + u16::from(ioapic::PINS) + 2;
    let length = HEADER_BYTES + entries.len();
    let mut table = Vec::with_capacity(length);
    table.extend_from_slice(b"PCMP");
    table.extend_from_slice(&(length as u16).to_le_bytes());
    table.extend_from_slice(&[SPECIFICATION_1_4, 0]);
    table.extend_from_slice(b"RKT     ");
    table.extend_from_slice(b"POD         ");
    table.extend_from_slice(&[0; 6]);
    table.extend_from_slice(&entry_count.to_le_bytes());
    table.extend_from_slice(&LOCAL_APIC_START.to_le_bytes());
    table.extend_from_slice(&[0; 4]);
    table.extend_from_slice(&entries);
    seal(&mut table, 7);
    table
}

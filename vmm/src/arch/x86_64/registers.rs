//! The boot processor's registers at its first instruction, and registers as text.
//!
//! Responsible for: the processor state that each boot protocol prescribes. Must not know: what the kernel does with it.
//! Follows Linux's Documentation/arch/x86/boot.rst, "64-bit boot protocol", and Xen's docs/misc/pvh.pandoc.

use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use vm_memory::{Address, Bytes};

use super::boot::{
    CODE_SELECTOR, DATA_SELECTOR, GDT, PML4, PVH_START_INFO, STACK_TOP, TASK_SELECTOR, ZERO_PAGE,
};
use super::kernel::Entry;
use crate::Error;
use crate::memory::GuestRam;

const CR0_PROTECTED: u64 = 1 << 0;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLED: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// Bit 1 is reserved and always set.
const RFLAGS_INITIAL: u64 = 0x2;

const TYPE_CODE: u8 = 0xb;
const TYPE_DATA: u8 = 0x3;
const TYPE_BUSY_TASK: u8 = 0xb;

/// A flat segment from address 0.
fn flat(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

fn task() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0x67,
        selector: TASK_SELECTOR,
        type_: TYPE_BUSY_TASK,
        present: 1,
        ..Default::default()
    }
}

/// The descriptor of a segment as it stands in the table.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 { segment.limit >> 12 } else { segment.limit });
    let access = u64::from(segment.type_)
        | u64::from(segment.s) << 4
        | u64::from(segment.dpl) << 5
        | u64::from(segment.present) << 7;
    let flags = u64::from(segment.l) << 1 | u64::from(segment.db) << 2 | u64::from(segment.g) << 3;
    (segment.base & 0xff00_0000) << 32
        | flags << 52
        | (limit & 0xf_0000) << 32
        | access << 40
        | (segment.base & 0x00ff_ffff) << 16
        | limit & 0xffff
}

/// Puts the boot processor at `entry`.
pub fn set_boot_state(vcpu: &VcpuFd, ram: &GuestRam, entry: Entry) -> Result<(), Error> {
    let long = matches!(entry, Entry::Linux64(_));
    let code = flat(CODE_SELECTOR, TYPE_CODE, long);
    // A data segment has no `l` bit; `db` gives it the 4 GiB limit in 32-bit mode.
    let data = flat(DATA_SELECTOR, TYPE_DATA, false);
    let task = task();
    let table = [0, 0, descriptor(&code), descriptor(&data), descriptor(&task), 0];
    for (index, entry) in (0u64..).zip(table) {
        ram.write_obj(entry, GDT.unchecked_add(index * 8)).map_err(|_| Error::DoesNotFit("boot data"))?;
    }

    let mut special = vcpu.get_sregs().map_err(Error::kvm("read control registers"))?;
    special.cs = code;
    for segment in [&mut special.ds, &mut special.es, &mut special.fs, &mut special.gs, &mut special.ss] {
        *segment = data;
    }
    special.tr = task;
    special.gdt.base = GDT.raw_value();
    special.gdt.limit = (size_of_val(&table) - 1) as u16;
    special.idt.base = 0;
    special.idt.limit = 0;
    special.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    special.cr4 = 0;
    if long {
        special.cr3 = PML4.raw_value();
        special.cr4 |= CR4_PHYSICAL_ADDRESS_EXTENSION;
        special.cr0 |= CR0_PAGING;
        special.efer |= EFER_LONG_MODE_ENABLED | EFER_LONG_MODE_ACTIVE;
    }
    vcpu.set_sregs(&special).map_err(Error::kvm("set control registers"))?;

    let general = match entry {
        Entry::Linux64(address) => kvm_regs {
            rip: address.raw_value(),
            rsi: ZERO_PAGE.raw_value(),
            rsp: STACK_TOP.raw_value(),
            rbp: STACK_TOP.raw_value(),
            rflags: RFLAGS_INITIAL,
            ..Default::default()
        },
        Entry::Pvh(address) => kvm_regs {
            rip: address.raw_value(),
            rbx: PVH_START_INFO.raw_value(),
            rflags: RFLAGS_INITIAL,
            ..Default::default()
        },
    };
    vcpu.set_regs(&general).map_err(Error::kvm("set registers"))
}

/// The registers that tell where a virtual CPU is, for an error message.
pub fn describe(vcpu: &VcpuFd) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(general), Ok(special)) => format!(
            "rip={:#x} rsp={:#x} rflags={:#x} rax={:#x} rbx={:#x} rcx={:#x} rdx={:#x} rsi={:#x} rdi={:#x} \
             cs={:#x} cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x} efer={:#x}",
            general.rip,
            general.rsp,
            general.rflags,
            general.rax,
            general.rbx,
            general.rcx,
            general.rdx,
            general.rsi,
            general.rdi,
            special.cs.selector,
            special.cr0,
            special.cr2,
            special.cr3,
            special.cr4,
            special.efer,
        ),
        _ => "registers are not readable".to_owned(),
    }
}

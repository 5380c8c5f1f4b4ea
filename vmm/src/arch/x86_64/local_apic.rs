//! The two interrupt inputs of the local APIC.
//!
//! Responsible for: LINT0 taking external interrupts and LINT1 non-maskable ones, as a BIOS leaves them. Must not know:
//! who drives them. Follows Intel's Software Developer's Manual volume 3, "Local Vector Table".

use kvm_bindings::kvm_lapic_state;
use kvm_ioctls::VcpuFd;

use crate::Error;

const LINT0: usize = 0x350;
const LINT1: usize = 0x360;
const DELIVERY_MODE_MASK: u32 = 0x700;
const DELIVERY_NMI: u32 = 0x400;
const DELIVERY_EXTERNAL: u32 = 0x700;

/// Connects the local interrupt inputs of a virtual CPU.
pub fn connect_lines(vcpu: &VcpuFd) -> Result<(), Error> {
    let mut state = vcpu.get_lapic().map_err(Error::kvm("read the local APIC"))?;
    set_delivery(&mut state, LINT0, DELIVERY_EXTERNAL);
    set_delivery(&mut state, LINT1, DELIVERY_NMI);
    vcpu.set_lapic(&state).map_err(Error::kvm("set the local APIC"))
}

/// Sets the delivery mode of the local vector table entry at `register`.
pub fn set_delivery(state: &mut kvm_lapic_state, register: usize, mode: u32) {
    let Some(slot) = state.regs.get_mut(register..register + 4) else { return };
    let mut bytes = [0; 4];
    for (byte, source) in bytes.iter_mut().zip(slot.iter()) {
        *byte = source.cast_unsigned();
    }
    let value = u32::from_le_bytes(bytes) & !DELIVERY_MODE_MASK | mode;
    for (target, byte) in slot.iter_mut().zip(value.to_le_bytes()) {
        *target = byte.cast_signed();
    }
}

use kvm_bindings::kvm_lapic_state;

use crate::arch::x86_64::local_apic::set_delivery;

#[test]
fn delivery_mode_changes_and_the_mask_bit_stays() {
    let mut state = kvm_lapic_state::default();
    state.regs[0x352] = 1;
    state.regs[0x351] = 3;

    set_delivery(&mut state, 0x350, 0x400);

    assert_eq!(state.regs[0x350..0x354], [0, 4, 1, 0]);
}

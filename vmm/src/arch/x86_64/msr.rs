//! Model-specific registers that firmware would have set.
//!
//! Responsible for: memory types and fast strings, on every virtual CPU. Must not know: anything else. Follows Intel's
//! Software Developer's Manual volume 4; AMD processors ignore the second.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

use crate::Error;

const MTRR_DEFAULT_TYPE: u32 = 0x2ff;
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;
const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;

/// Sets the registers of one virtual CPU.
pub fn set(vcpu: &VcpuFd) -> Result<(), Error> {
    let entries = [(MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK), (MISC_ENABLE, FAST_STRINGS)]
        .map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
    let registers = Msrs::from_entries(&entries).map_err(|_| Error::DoesNotFit("processor registers"))?;
    let set = vcpu.set_msrs(&registers).map_err(Error::kvm("set model-specific registers"))?;
    if set != entries.len() {
        log::debug!("KVM accepted {set} of {} model-specific registers", entries.len());
    }
    Ok(())
}

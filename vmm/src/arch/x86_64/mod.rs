//! The x86-64 platform: boot protocol, processor identification, interrupt controllers.

pub mod boot;
pub mod cpuid;
pub mod ioapic;
pub mod kernel;
pub mod local_apic;
pub mod mptable;
pub mod msr;
pub mod registers;

#[cfg(test)]
mod boot_test;
#[cfg(test)]
mod cpuid_test;
#[cfg(test)]
mod ioapic_test;
#[cfg(test)]
mod local_apic_test;
#[cfg(test)]
mod mptable_test;

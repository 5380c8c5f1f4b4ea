//! The I/O APIC: pins in, messages to local APICs out.
//!
//! Responsible for: the redirection table, and keeping KVM's routes equal to it, so that an interrupt descriptor of a
//! device reaches the processor without passing through this process. Must not know: devices. Follows Intel's 82093AA data
//! sheet; pins are edge-triggered (the MP table says so), hence there is no remote IRR and no end of interrupt.

use std::sync::Arc;

use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_msi,
};
use kvm_ioctls::VmFd;

use crate::devices::bus::BusDevice;
use crate::memory::LOCAL_APIC_START;

/// Interrupt pins. The original part has 24; the kernel makes eight accesses for each when it boots, and every one is an exit.
pub const PINS: u8 = 16;
/// The original part; later versions add a register for level-triggered interrupts.
pub const VERSION: u8 = 0x11;

const WINDOW_SELECT: u64 = 0x00;
const WINDOW_DATA: u64 = 0x10;

const REGISTER_ID: u8 = 0;
const REGISTER_VERSION: u8 = 1;
const REGISTER_ARBITRATION: u8 = 2;
const REGISTER_TABLE: u8 = 0x10;

const ENTRY_VECTOR: u64 = 0xff;
const ENTRY_DELIVERY_MODE: u64 = 0x700;
const ENTRY_LOGICAL: u64 = 1 << 11;
const ENTRY_LEVEL: u64 = 1 << 15;
const ENTRY_MASKED: u64 = 1 << 16;
/// Delivery status and remote IRR.
const ENTRY_READ_ONLY: u64 = 1 << 12 | 1 << 14;

/// A message to a local APIC that stands for one pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The pin, which is also the number of the interrupt in KVM.
    pub pin: u8,
    /// Where the message goes: destination and its mode.
    pub address: u32,
    /// What it says: vector, delivery mode, trigger mode.
    pub data: u32,
}

/// Takes the routes of all pins that are not masked, replacing the former ones.
pub trait RouteTable: Send {
    /// Called with the lock of the I/O APIC held, before the guest's write completes.
    fn set_routes(&self, routes: &[Route]);
}

/// KVM's routing table.
pub struct KvmRoutes(pub Arc<VmFd>);

impl RouteTable for KvmRoutes {
    fn set_routes(&self, routes: &[Route]) {
        let entries: Vec<kvm_irq_routing_entry> = routes.iter().map(kvm_entry).collect();
        match KvmIrqRouting::from_entries(&entries) {
            Ok(table) => {
                if let Err(error) = self.0.set_gsi_routing(&table) {
                    log::warn!("I/O APIC: KVM refuses the routes {routes:?}: {error}");
                }
            }
            Err(error) => log::warn!("I/O APIC: {error:?}"),
        }
    }
}

fn kvm_entry(route: &Route) -> kvm_irq_routing_entry {
    kvm_irq_routing_entry {
        gsi: u32::from(route.pin),
        type_: KVM_IRQ_ROUTING_MSI,
        u: kvm_irq_routing_entry__bindgen_ty_1 {
            msi: kvm_irq_routing_msi { address_lo: route.address, data: route.data, ..Default::default() },
        },
        ..Default::default()
    }
}

/// The registers of the I/O APIC.
pub struct IoApic<T: RouteTable> {
    id: u32,
    selected: u8,
    table: [u64; PINS as usize],
    /// What was last handed to `routes`: the kernel rewrites masked entries dozens of times while it boots.
    current: Vec<Route>,
    routes: T,
}

impl<T: RouteTable> IoApic<T> {
    /// An I/O APIC after reset: every pin is masked.
    pub fn new(routes: T) -> Self {
        IoApic { id: 0, selected: 0, table: [ENTRY_MASKED; PINS as usize], current: Vec::new(), routes }
    }

    fn read_register(&self) -> u32 {
        match self.selected {
            REGISTER_ID | REGISTER_ARBITRATION => self.id,
            REGISTER_VERSION => u32::from(PINS - 1) << 16 | u32::from(VERSION),
            register => self
                .entry(register)
                .map_or(0, |(index, shift)| self.table.get(index).map_or(0, |entry| (entry >> shift) as u32)),
        }
    }

    fn write_register(&mut self, value: u32) {
        if self.selected == REGISTER_ID {
            self.id = value & 0x0f00_0000;
        } else if let Some((index, shift)) = self.entry(self.selected)
            && let Some(entry) = self.table.get_mut(index)
        {
            let kept = *entry & !(0xffff_ffff << shift) | *entry & ENTRY_READ_ONLY;
            *entry = kept | u64::from(value) << shift & !ENTRY_READ_ONLY;
            self.update_routes();
        }
    }

    /// Index of the redirection entry behind a register, and the position of the register in it.
    fn entry(&self, register: u8) -> Option<(usize, u32)> {
        let offset = register.checked_sub(REGISTER_TABLE)?;
        (offset < PINS * 2).then(|| (usize::from(offset / 2), u32::from(offset % 2) * 32))
    }

    fn update_routes(&mut self) {
        let routes: Vec<Route> = (0..)
            .zip(&self.table)
            .filter(|(_, entry)| *entry & ENTRY_MASKED == 0)
            .map(|(pin, entry)| route(pin, *entry))
            .collect();
        if routes != self.current {
            self.routes.set_routes(&routes);
            self.current = routes;
        }
    }
}

/// The message that a redirection entry describes (82093AA 3.2.4; Intel SDM volume 3, "Message Address Register").
fn route(pin: u8, entry: u64) -> Route {
    let destination = (entry >> 56) as u32;
    let logical = u32::from(entry & ENTRY_LOGICAL != 0);
    let data = entry & (ENTRY_VECTOR | ENTRY_DELIVERY_MODE | ENTRY_LEVEL);
    Route { pin, address: LOCAL_APIC_START | destination << 12 | logical << 2, data: data as u32 }
}

impl<T: RouteTable> BusDevice for IoApic<T> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset {
            WINDOW_SELECT => u32::from(self.selected),
            WINDOW_DATA => self.read_register(),
            _ => return,
        };
        // A narrow access gets the low bytes; a wide one ends in ones.
        for (target, byte) in data.iter_mut().zip(value.to_le_bytes()) {
            *target = byte;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else { return };
        match offset {
            WINDOW_SELECT => self.selected = value as u8,
            WINDOW_DATA => self.write_register(value),
            _ => {}
        }
    }
}

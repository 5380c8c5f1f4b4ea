//! An address space with devices in it: port I/O or memory-mapped I/O.
//!
//! Responsible for: finding the device that an access of any width and alignment belongs to. Must not know: devices.
//! Accesses that no device owns behave as on a PC: reads give all ones, writes vanish.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A device that answers accesses to a window of a bus.
///
/// Called from any vCPU thread, one at a time. `offset` counts from the start of the window and `offset + data.len()`
/// never exceeds it; both are the guest's choice within that.
pub trait BusDevice: Send {
    /// Fills all of `data`, which holds all ones.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Takes `data`, or ignores it.
    fn write(&mut self, offset: u64, data: &[u8]);
}

struct Window {
    addresses: Range<u64>,
    device: Arc<Mutex<dyn BusDevice>>,
}

/// An address space. Built once, then only read.
#[derive(Default)]
pub struct Bus {
    windows: Vec<Window>,
}

impl Bus {
    /// Puts `device` at `addresses`, which no other device may overlap.
    pub fn insert(&mut self, addresses: Range<u64>, device: Arc<Mutex<dyn BusDevice>>) {
        self.windows.push(Window { addresses, device });
    }

    /// A guest read of `data.len()` bytes.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((offset, device)) = self.find(address, data.len()) {
            device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
        }
    }

    /// A guest write.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some((offset, device)) = self.find(address, data.len()) {
            device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
        }
    }

    fn find(&self, address: u64, length: usize) -> Option<(u64, &Mutex<dyn BusDevice>)> {
        let end = address.checked_add(u64::try_from(length).ok()?)?;
        let window = self.windows.iter().find(|window| window.addresses.contains(&address))?;
        (end <= window.addresses.end).then(|| (address - window.addresses.start, window.device.as_ref()))
    }
}

//! The registers of all virtio devices, as a guest reaches them: through the bus.
//!
//! Responsible for: accesses of every width at every offset, in every state, with queues anywhere in memory. Must not know: virtual CPUs,
//! the event loop, whose part it plays. Follows the virtio specification 1.2, section 4.2, "Virtio Over MMIO".

use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex};

use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_DEVICE_FEATURES, VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES,
    VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
    VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_NUM_MAX,
    VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_STATUS,
    VIRTIO_MMIO_VERSION,
};
use vm_memory::{Bytes, GuestAddress};

use super::rings::{shared_ram, usual_setup};
use super::script::Script;
use crate::VsockConfig;
use crate::devices::bus::Bus;
use crate::memory::{GuestRam, VIRTIO_MMIO_SIZE, VIRTIO_MMIO_START};
use crate::metrics::DeviceCounters;
use crate::virtio::balloon::Balloon;
use crate::virtio::device::VirtioDevice;
use crate::virtio::mmio::{DeviceHandle, MmioTransport};
use crate::virtio::rng::Rng;
use crate::virtio::vsock::Vsock;

/// An input longer than that finds nothing more.
const MAX_ACTS: usize = 128;
/// A device that asks to be called again is, so many times.
const MAX_TURNS: usize = 16;
const MAGIC: u32 = 0x7472_6976;
/// The states that a driver goes through.
const STATES: [u32; 4] = [1, 3, 11, 15];
const NEEDS_RESET: u32 = 64;

/// Nobody reads it.
static COUNTERS: LazyLock<DeviceCounters> = LazyLock::new(DeviceCounters::default);

struct Machine<'a> {
    bus: Bus,
    handles: Vec<DeviceHandle>,
    ram: &'a GuestRam,
}

impl<'a> Machine<'a> {
    fn new(ram: &'a GuestRam) -> Option<Self> {
        let (ours, _) = UnixStream::pair().ok()?;
        let vsock = VsockConfig { guest_cid: 3, guest_to_host: vec![(1024, ours)], host_to_guest: None };
        let devices: [Arc<Mutex<dyn VirtioDevice>>; 3] = [
            Arc::new(Mutex::new(Vsock::new(vsock).ok()?)),
            Arc::new(Mutex::new(Rng::default())),
            Arc::new(Mutex::new(Balloon::default())),
        ];
        let (mut bus, mut handles) = (Bus::default(), Vec::new());
        for (slot, device) in (0..).zip(devices) {
            let start = VIRTIO_MMIO_START + slot * VIRTIO_MMIO_SIZE;
            let handle = DeviceHandle::new(device, &COUNTERS).ok()?;
            let transport = MmioTransport::new(handle.clone(), ram.clone());
            bus.insert(start..start + VIRTIO_MMIO_SIZE, Arc::new(Mutex::new(transport)));
            handles.push(handle);
        }
        Some(Machine { bus, handles, ram })
    }

    fn address(&self, device: usize, offset: u64) -> u64 {
        VIRTIO_MMIO_START + (device % self.handles.len()) as u64 * VIRTIO_MMIO_SIZE + offset
    }

    fn read(&self, device: usize, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.bus.read(self.address(device, register.into()), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write(&self, device: usize, register: u32, value: u32) {
        self.bus.write(self.address(device, register.into()), &value.to_le_bytes());
    }

    /// What the event loop does.
    fn serve(&self) {
        for _ in 0..MAX_TURNS {
            let mut idle = true;
            for handle in &self.handles {
                for (index, kick) in handle.kicks.iter().enumerate() {
                    if kick.read().is_ok() {
                        handle.lock().notified(index);
                        idle = false;
                    }
                }
            }
            if idle {
                break;
            }
        }
    }

    /// Goes through the states of a driver up to this one, as a driver does.
    fn set_up(&self, device: usize, states: usize, places: impl Fn(usize, u16) -> [u32; 4]) {
        self.write(device, VIRTIO_MMIO_STATUS, 0);
        for state in STATES.iter().take(states) {
            match state {
                11 => self.agree(device),
                15 => self.set_up_queues(device, &places),
                _ => {}
            }
            self.write(device, VIRTIO_MMIO_STATUS, *state);
        }
    }

    fn agree(&self, device: usize) {
        for half in [0, 1] {
            self.write(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            self.write(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            let offered = self.read(device, VIRTIO_MMIO_DEVICE_FEATURES);
            self.write(device, VIRTIO_MMIO_DRIVER_FEATURES, offered);
        }
    }

    fn set_up_queues(&self, device: usize, places: &impl Fn(usize, u16) -> [u32; 4]) {
        for queue in 0..8 {
            self.write(device, VIRTIO_MMIO_QUEUE_SEL, queue);
            let most = self.read(device, VIRTIO_MMIO_QUEUE_NUM_MAX);
            if most == 0 {
                break;
            }
            let [size, descriptors, available, used] = places(queue as usize, most as u16);
            self.write(device, VIRTIO_MMIO_QUEUE_NUM, size);
            self.write(device, VIRTIO_MMIO_QUEUE_DESC_LOW, descriptors);
            self.write(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, available);
            self.write(device, VIRTIO_MMIO_QUEUE_USED_LOW, used);
            self.write(device, VIRTIO_MMIO_QUEUE_READY, 1);
        }
    }

    fn act(&self, script: &mut Script) {
        let choice = script.byte();
        let device = usize::from(choice >> 4);
        match choice & 7 {
            0 => {
                let (offset, width) = (script.short(), script.byte());
                let mut bytes = vec![0; 1 + usize::from(width % 8)];
                self.bus.read(self.address(device, u64::from(offset) % VIRTIO_MMIO_SIZE), &mut bytes);
            }
            1 => {
                let (offset, width) = (script.short(), script.byte());
                let bytes = script.bytes(1 + usize::from(width % 8));
                self.bus.write(self.address(device, u64::from(offset) % VIRTIO_MMIO_SIZE), bytes);
            }
            2 | 3 => {
                let register = u32::from(script.byte()) & !3;
                self.write(device, register, script.number(4) as u32);
            }
            4 => {
                let states = usize::from(script.byte() % 5);
                let places: Vec<u16> = (0..4).map(|_| script.short()).collect();
                let place = |index: usize| places.get(index).copied().map_or(0, u32::from);
                self.set_up(device, states, |queue, most| {
                    let spread = queue as u32 * (place(0) & 0xff00);
                    [u32::from(most), place(1) & !15, place(2) & !1, place(3) & !3].map(|it| it + spread)
                });
            }
            5 => self.set_up(device, STATES.len(), usual),
            6 => {
                let (at, count) = (script.short(), script.byte());
                let bytes = script.bytes(usize::from(count));
                let _ = self.ram.write_slice(bytes, GuestAddress(u64::from(at)));
            }
            _ => {
                self.write(device, VIRTIO_MMIO_QUEUE_NOTIFY, u32::from(script.byte()));
                self.serve();
                if let Some(handle) = self.handles.get(device % self.handles.len()) {
                    handle.lock().outside_event(0);
                }
            }
        }
    }

    /// What a driver may rely on, whatever it has done.
    fn check(&self, device: usize) {
        assert_eq!(self.read(device, VIRTIO_MMIO_MAGIC_VALUE), MAGIC);
        assert_eq!(self.read(device, VIRTIO_MMIO_VERSION), 2);
        let status = self.read(device, VIRTIO_MMIO_STATUS);
        assert_eq!(status & !(NEEDS_RESET | 128 | 15), 0, "status {status:#x}");
        self.write(device, VIRTIO_MMIO_STATUS, 0);
        assert_eq!(self.read(device, VIRTIO_MMIO_STATUS), 0, "a reset is not complete");
    }
}

fn usual(queue: usize, most: u16) -> [u32; 4] {
    let setup = usual_setup(queue, most);
    [u32::from(most), setup.descriptors as u32, setup.available as u32, setup.used as u32]
}

/// A guest that does anything with registers. Afterwards a driver finds every device as it should be, and starts it. Deep: the entropy
/// device has interrupted the guest.
pub fn registers(data: &[u8]) -> bool {
    let mut deep = false;
    shared_ram(|ram| {
        let Some(machine) = Machine::new(ram) else { return false };
        let mut script = Script::new(data);
        for _ in 0..MAX_ACTS {
            if script.is_over() {
                break;
            }
            machine.act(&mut script);
            deep |= machine.handles.get(1).is_some_and(|rng| rng.interrupt.status() & 1 != 0);
        }
        for device in 0..machine.handles.len() {
            machine.check(device);
        }
        for device in 0..machine.handles.len() {
            machine.set_up(device, STATES.len(), usual);
            assert_eq!(machine.read(device, VIRTIO_MMIO_STATUS), 15, "device {device} does not start again");
            machine.write(device, VIRTIO_MMIO_STATUS, 0);
        }
        true
    });
    deep
}

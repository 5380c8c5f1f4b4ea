//! The memory-mapped transport.
//!
//! Responsible for: the registers, the status bits in the order a driver must set them, and handing the device its queues
//! once the driver is done. Must not know: any particular device. Follows the virtio specification 1.2, sections 4.2.2,
//! "MMIO Device Register Layout", and 3.1.1, "Driver Requirements: Device Initialization".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
};
use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_DEVICE_FEATURES,
    VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_DRIVER_FEATURES,
    VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INTERRUPT_STATUS,
    VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
    VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_QUEUE_NUM,
    VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_HIGH,
    VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_SHM_BASE_HIGH, VIRTIO_MMIO_SHM_BASE_LOW,
    VIRTIO_MMIO_SHM_LEN_HIGH, VIRTIO_MMIO_SHM_LEN_LOW, VIRTIO_MMIO_STATUS, VIRTIO_MMIO_VENDOR_ID,
    VIRTIO_MMIO_VERSION,
};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::device::{
    Activation, FEATURE_EVENT_IDX, FEATURE_VERSION_1, INTERRUPT_QUEUE, Interrupt, VirtioDevice,
};
use super::queue::{QueueError, QueueSetup};
use crate::Error;
use crate::device_thread::DeviceThread;
use crate::devices::bus::BusDevice;
use crate::memory::GuestRam;
use crate::metrics::DeviceCounters;

/// "virt" in little-endian order.
const MAGIC: u32 = 0x7472_6976;
/// The only layout that is not legacy.
const VERSION: u32 = 2;
/// A vendor ID has no meaning in virtio; this one reads "rkt".
const VENDOR: u32 = 0x0074_6b72;
/// Offset of the register that a driver writes a queue index to; the kernel delivers those as events.
pub const NOTIFY_OFFSET: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;
/// Offset of the register that a driver writes the bits of an interrupt's status to that it has dealt with.
pub const INTERRUPT_ACK_OFFSET: u64 = VIRTIO_MMIO_INTERRUPT_ACK as u64;

const STATUS_ACKNOWLEDGE: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE;
const STATUS_DRIVER: u32 = STATUS_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
const STATUS_FEATURES_OK: u32 = STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
const STATUS_RUNNING: u32 = STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

/// A device together with what its transport shares with the event loop.
#[derive(Clone)]
pub struct DeviceHandle {
    /// The device.
    pub device: Arc<Mutex<dyn VirtioDevice>>,
    /// One per queue, signalled on notification.
    pub kicks: Arc<[EventFd]>,
    /// The interrupt.
    pub interrupt: Arc<Interrupt>,
    /// What the event loop counts.
    pub counters: &'static DeviceCounters,
}

impl DeviceHandle {
    /// Prepares the descriptors around `device`.
    pub fn new(
        device: Arc<Mutex<dyn VirtioDevice>>,
        counters: &'static DeviceCounters,
    ) -> Result<Self, Error> {
        let create = || EventFd::new(EFD_NONBLOCK).map_err(Error::os("create an event descriptor"));
        let queues = lock(&device).queue_sizes().len();
        let kicks = (0..queues).map(|_| create()).collect::<Result<Vec<_>, _>>()?;
        let interrupt = Arc::new(Interrupt::new(create()?));
        Ok(DeviceHandle { device, kicks: kicks.into(), interrupt, counters })
    }

    /// The device, for one call.
    pub fn lock(&self) -> MutexGuard<'_, dyn VirtioDevice + 'static> {
        lock(&self.device)
    }
}

fn lock<'a>(device: &'a Arc<Mutex<dyn VirtioDevice>>) -> MutexGuard<'a, dyn VirtioDevice + 'static> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The registers of one device.
pub struct MmioTransport {
    handle: DeviceHandle,
    ram: GuestRam,
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    queues: Vec<QueueSetup>,
    queue_sizes: Vec<u16>,
    status_is_constant: bool,
    /// Where the device starts and stops, other than in the thread that runs the driver.
    device_thread: Option<Arc<DeviceThread>>,
}

impl MmioTransport {
    /// The registers after reset.
    pub fn new(handle: DeviceHandle, ram: GuestRam) -> Self {
        let device = handle.lock();
        let queue_sizes = device.queue_sizes().to_vec();
        let status_is_constant = device.status_is_constant();
        drop(device);
        MmioTransport {
            handle,
            ram,
            status: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: vec![QueueSetup::default(); queue_sizes.len()],
            queue_sizes,
            status_is_constant,
            device_thread: None,
        }
    }

    /// Has the device start and stop in the device thread.
    pub fn on(self, device_thread: Arc<DeviceThread>) -> Self {
        MmioTransport { device_thread: Some(device_thread), ..self }
    }

    /// Does something that takes the device system calls. `None` if the machine ends before that.
    fn at_device<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn VirtioDevice) -> R + Send + 'static,
    ) -> Option<R> {
        match &self.device_thread {
            None => Some(work(&mut *self.handle.lock())),
            Some(thread) => {
                let handle = self.handle.clone();
                thread.call(move || work(&mut *handle.lock()))
            }
        }
    }

    fn read_register(&self, register: u32) -> u32 {
        match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.handle.lock().id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.handle.lock().features(), self.device_features_select),
            VIRTIO_MMIO_QUEUE_NUM_MAX => self
                .selected()
                .and_then(|index| self.queue_sizes.get(index))
                .map_or(0, |size| u32::from(*size)),
            VIRTIO_MMIO_QUEUE_READY => self
                .selected()
                .and_then(|index| self.queues.get(index))
                .map_or(0, |queue| u32::from(queue.ready)),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt_status(),
            VIRTIO_MMIO_STATUS => {
                let failed = if self.handle.interrupt.has_failed() { VIRTIO_CONFIG_S_NEEDS_RESET } else { 0 };
                self.status | failed
            }
            // The configuration never changes.
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            // A length of all ones says that there is no shared memory region.
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            _ => 0,
        }
    }

    /// Where a vhost back end raises the interrupt, it signals KVM without passing here, and nobody sets the status
    /// bit. The driver returns from an interrupt whose status is zero without looking at its queues, so the bit always
    /// reads as set: the driver then looks at queues that may be empty, which costs it a few loads and nothing else.
    fn interrupt_status(&self) -> u32 {
        let constant = if self.status_is_constant { INTERRUPT_QUEUE } else { 0 };
        self.handle.interrupt.status() | constant
    }

    fn write_register(&mut self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.write_driver_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.queue_select = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value),
            VIRTIO_MMIO_INTERRUPT_ACK => self.handle.interrupt.acknowledge(value),
            VIRTIO_MMIO_STATUS => self.write_status(value),
            _ => self.write_queue_register(register, value),
        }
    }

    fn selected(&self) -> Option<usize> {
        usize::try_from(self.queue_select).ok()
    }

    fn write_driver_features(&mut self, value: u32) {
        if self.status != STATUS_DRIVER {
            return;
        }
        let shift = match self.driver_features_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features = self.driver_features & !(0xffff_ffff << shift) | u64::from(value) << shift;
    }

    /// Queues are set up between feature negotiation and `DRIVER_OK`; at any other time writes are ignored.
    fn write_queue_register(&mut self, register: u32, value: u32) {
        if self.status != STATUS_FEATURES_OK {
            return;
        }
        let Some(queue) = self.selected().and_then(|index| self.queues.get_mut(index)) else { return };
        match register {
            // An invalid size is kept and refused on activation, where the driver finds out.
            VIRTIO_MMIO_QUEUE_NUM => queue.size = u16::try_from(value).unwrap_or(0),
            VIRTIO_MMIO_QUEUE_READY => queue.ready = value == 1,
            VIRTIO_MMIO_QUEUE_DESC_LOW => set_low(&mut queue.descriptors, value),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => set_high(&mut queue.descriptors, value),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => set_low(&mut queue.available, value),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => set_high(&mut queue.available, value),
            VIRTIO_MMIO_QUEUE_USED_LOW => set_low(&mut queue.used, value),
            VIRTIO_MMIO_QUEUE_USED_HIGH => set_high(&mut queue.used, value),
            _ => {}
        }
    }

    /// The way of a notification that the kernel did not deliver: one of another width than 32 bits.
    fn notify(&self, value: u32) {
        let kick = usize::try_from(value).ok().and_then(|index| self.handle.kicks.get(index));
        if let Some(Err(error)) = kick.map(|kick| kick.write(1)) {
            log::warn!("virtio: cannot pass a notification on: {error}");
        }
    }

    fn write_status(&mut self, value: u32) {
        if value == 0 {
            self.reset();
            return;
        }
        if value & VIRTIO_CONFIG_S_FAILED != 0 {
            self.status |= VIRTIO_CONFIG_S_FAILED;
            return;
        }
        match (self.status, value) {
            (0, STATUS_ACKNOWLEDGE) | (STATUS_ACKNOWLEDGE, STATUS_DRIVER) => self.status = value,
            (STATUS_DRIVER, STATUS_FEATURES_OK) => {
                let offered = self.handle.lock().features();
                let accepted = self.driver_features;
                // The driver reads the status back and finds the bit missing when its choice is not acceptable.
                if accepted & !offered == 0 && accepted & FEATURE_VERSION_1 != 0 {
                    self.status = value;
                }
            }
            (STATUS_FEATURES_OK, STATUS_RUNNING) => self.activate(),
            (current, value) if current == value => {}
            (current, value) => {
                log::warn!("virtio: driver went from status {current:#x} to {value:#x}");
            }
        }
    }

    fn activate(&mut self) {
        self.status = STATUS_RUNNING;
        let activated = self.build_queues().map_err(Into::into).and_then(|queues| {
            let activation = Activation {
                ram: self.ram.clone(),
                queues,
                features: self.driver_features,
                interrupt: self.handle.interrupt.clone(),
                kicks: self.handle.kicks.clone(),
            };
            self.at_device(move |device| device.activate(activation)).unwrap_or(Ok(()))
        });
        if let Err(error) = activated {
            log::warn!("virtio: device {} does not start: {error}", self.handle.lock().id());
            self.handle.interrupt.fail();
        }
    }

    fn build_queues(&self) -> Result<Vec<Option<virtio_queue::Queue>>, QueueError> {
        let event_idx = self.driver_features & FEATURE_EVENT_IDX != 0;
        self.queues
            .iter()
            .zip(&self.queue_sizes)
            .map(|(setup, max)| setup.build(&self.ram, *max, event_idx))
            .collect()
    }

    fn reset(&mut self) {
        if self.status != 0 {
            self.at_device(|device| device.reset());
        }
        self.status = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.queues.fill(QueueSetup::default());
        self.handle.interrupt.reset();
    }
}

fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

fn set_low(target: &mut u64, value: u32) {
    *target = *target & !0xffff_ffff | u64::from(value);
}

fn set_high(target: &mut u64, value: u32) {
    *target = *target & 0xffff_ffff | u64::from(value) << 32;
}

impl BusDevice for MmioTransport {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let config_start = u64::from(VIRTIO_MMIO_CONFIG);
        if let Some(start) = offset.checked_sub(config_start) {
            data.fill(0);
            let device = self.handle.lock();
            let config =
                usize::try_from(start).ok().and_then(|start| device.config().get(start..)).unwrap_or(&[]);
            for (target, byte) in data.iter_mut().zip(config) {
                *target = *byte;
            }
        } else if data.len() == 4 && offset.is_multiple_of(4) {
            data.copy_from_slice(&self.read_register(offset as u32).to_le_bytes());
        }
        // Registers are 32 bits wide; any other access is the driver's mistake and reads all ones.
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        // No device has configuration that a driver may write.
        if offset >= u64::from(VIRTIO_MMIO_CONFIG) || !offset.is_multiple_of(4) {
            return;
        }
        if let Ok(value) = data.try_into().map(u32::from_le_bytes) {
            self.write_register(offset as u32, value);
        } else if offset == NOTIFY_OFFSET
            && let Ok(value) = data.try_into().map(u16::from_le_bytes)
        {
            self.notify(u32::from(value));
        }
    }
}

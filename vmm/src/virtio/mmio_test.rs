use std::sync::{Arc, Mutex};

use crate::devices::bus::BusDevice;
use crate::memory;
use crate::virtio::device::{
    ActivateError, Activation, FEATURE_EVENT_IDX, FEATURES_COMMON, INTERRUPT_QUEUE, VirtioDevice,
};
use crate::virtio::mmio::{DeviceHandle, MmioTransport};

#[derive(Default)]
struct Probe {
    activations: Vec<(u64, Vec<bool>)>,
    resets: usize,
    from_outside: bool,
}

impl VirtioDevice for Probe {
    fn id(&self) -> u32 {
        42
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16, 64]
    }
    fn features(&self) -> u64 {
        FEATURES_COMMON
    }
    fn config(&self) -> &[u8] {
        &[1, 2, 3]
    }
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let queues = activation.queues.iter().map(Option::is_some).collect();
        self.activations.push((activation.features, queues));
        Ok(())
    }
    fn reset(&mut self) {
        self.resets += 1;
    }
    fn status_is_constant(&self) -> bool {
        self.from_outside
    }
    fn notified(&mut self, _index: usize) {}
}

struct Driver {
    transport: MmioTransport,
    device: Arc<Mutex<Probe>>,
    handle: DeviceHandle,
}

impl Driver {
    fn new(device: Probe) -> Self {
        let device = Arc::new(Mutex::new(device));
        let handle = DeviceHandle::new(device.clone(), Box::leak(Box::default())).unwrap();
        let transport = MmioTransport::new(handle.clone(), memory::create(32).unwrap());
        Driver { transport, device, handle }
    }

    fn read(&mut self, register: u64) -> u32 {
        let mut data = [0xff; 4];
        self.transport.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&mut self, register: u64, value: u32) {
        self.transport.write(register, &value.to_le_bytes());
    }

    fn negotiate(&mut self, features: u64) {
        self.write(0x70, 1);
        self.write(0x70, 3);
        for (half, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(0x24, half);
            self.write(0x20, value);
        }
        self.write(0x70, 11);
    }

    fn set_up_queue(&mut self, index: u32, descriptors: u32) {
        self.write(0x30, index);
        self.write(0x38, 16);
        self.write(0x80, descriptors);
        self.write(0x90, 0x2000);
        self.write(0xa0, 0x3000);
        self.write(0x44, 1);
    }
}

#[test]
fn device_identifies_itself() {
    let mut driver = Driver::new(Probe::default());

    assert_eq!([0x00, 0x04, 0x08].map(|register| driver.read(register)), [0x7472_6976, 2, 42]);
}

#[test]
fn driver_that_follows_the_order_gets_its_queues() {
    let mut driver = Driver::new(Probe::default());

    driver.negotiate(FEATURES_COMMON);
    assert_eq!(driver.read(0x70), 11);
    driver.set_up_queue(1, 0x1000);
    driver.write(0x70, 15);

    assert_eq!(driver.read(0x70), 15);
    assert_eq!(driver.device.lock().unwrap().activations, [(FEATURES_COMMON, vec![false, true])]);
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    let mut driver = Driver::new(Probe::default());

    driver.negotiate(FEATURES_COMMON | 1 << 5);

    assert_eq!(driver.read(0x70), 3);
}

#[test]
fn legacy_driver_is_not_accepted() {
    let mut driver = Driver::new(Probe::default());

    driver.negotiate(FEATURE_EVENT_IDX);

    assert_eq!(driver.read(0x70), 3);
}

#[test]
fn driver_that_skips_a_step_starts_nothing() {
    let mut driver = Driver::new(Probe::default());

    for status in [15, 4, 7, 2, 3] {
        driver.write(0x70, status);
        assert_eq!(driver.read(0x70), 0, "{status}");
    }

    assert!(driver.device.lock().unwrap().activations.is_empty());
}

#[test]
fn device_with_a_queue_outside_of_memory_needs_a_reset() {
    let mut driver = Driver::new(Probe::default());
    driver.negotiate(FEATURES_COMMON);
    driver.set_up_queue(0, 0xd000_0000);

    driver.write(0x70, 15);

    assert_eq!(driver.read(0x70), 15 | 0x40);
    assert!(driver.device.lock().unwrap().activations.is_empty());
    assert_eq!(driver.read(0x60), 2);
}

#[test]
fn queue_registers_do_not_change_while_the_device_runs() {
    let mut driver = Driver::new(Probe::default());
    driver.negotiate(FEATURES_COMMON);
    driver.set_up_queue(0, 0x1000);
    driver.write(0x70, 15);

    driver.write(0x44, 0);

    assert_eq!(driver.read(0x44), 1);
}

#[test]
fn reset_makes_the_device_forget() {
    let mut driver = Driver::new(Probe::default());
    driver.negotiate(FEATURES_COMMON);
    driver.set_up_queue(0, 0x1000);
    driver.write(0x70, 15);
    driver.handle.interrupt.raise(INTERRUPT_QUEUE);

    driver.write(0x70, 0);

    assert_eq!([0x70, 0x60, 0x44].map(|register| driver.read(register)), [0, 0, 0]);
    assert_eq!(driver.device.lock().unwrap().resets, 1);
    driver.negotiate(FEATURES_COMMON);
    assert_eq!(driver.read(0x70), 11);
}

#[test]
fn device_that_fails_while_it_runs_needs_a_reset_and_gets_over_it() {
    let mut driver = Driver::new(Probe::default());
    driver.negotiate(FEATURES_COMMON);
    driver.set_up_queue(0, 0x1000);
    driver.write(0x70, 15);

    driver.handle.interrupt.fail();

    assert_eq!([0x70, 0x60].map(|register| driver.read(register)), [15 | 0x40, 2]);
    driver.write(0x70, 0);
    assert_eq!([0x70, 0x60].map(|register| driver.read(register)), [0, 0]);
}

#[test]
fn interrupt_status_is_cleared_by_acknowledging_it() {
    let mut driver = Driver::new(Probe::default());
    driver.handle.interrupt.raise(INTERRUPT_QUEUE);
    assert_eq!(driver.read(0x60), 1);

    driver.write(0x64, 1);

    assert_eq!(driver.read(0x60), 0);
}

#[test]
fn interrupt_of_a_device_served_elsewhere_is_never_without_a_reason() {
    let mut driver = Driver::new(Probe { from_outside: true, ..Probe::default() });

    driver.write(0x64, 1);

    assert_eq!(driver.read(0x60), 1);
}

#[test]
fn notification_reaches_the_queue_it_names() {
    let mut driver = Driver::new(Probe::default());

    driver.write(0x50, 1);
    driver.transport.write(0x50, &1u16.to_le_bytes());
    driver.write(0x50, 2);
    driver.write(0x50, u32::MAX);

    assert!(driver.handle.kicks[0].read().is_err());
    assert_eq!(driver.handle.kicks[1].read().unwrap(), 2);
}

#[test]
fn configuration_reads_at_any_width_and_ends_in_zeros() {
    let mut driver = Driver::new(Probe::default());
    let mut data = [0xff; 4];

    driver.transport.read(0x101, &mut data);
    assert_eq!(data, [2, 3, 0, 0]);
    driver.transport.read(0xffc, &mut data);
    assert_eq!(data, [0; 4]);
}

#[test]
fn queue_that_does_not_exist_has_size_zero() {
    let mut driver = Driver::new(Probe::default());

    driver.write(0x30, 1);
    assert_eq!(driver.read(0x34), 64);
    driver.write(0x30, u32::MAX);

    assert_eq!(driver.read(0x34), 0);
}

#[test]
fn access_of_every_width_at_every_offset_in_every_state_is_survived() {
    for status in [0, 1, 3, 11, 15] {
        let mut driver = Driver::new(Probe::default());
        for step in [1, 3, 11, 15].into_iter().filter(|step| *step <= status) {
            driver.write(0x24, 1);
            driver.write(0x20, 1);
            driver.write(0x70, step);
        }
        for offset in (0..0x110).filter(|offset| *offset != 0x70) {
            for width in 0..=8 {
                driver.transport.write(offset, &vec![0xff; width]);
                driver.transport.read(offset, &mut vec![0; width]);
            }
        }
    }
}

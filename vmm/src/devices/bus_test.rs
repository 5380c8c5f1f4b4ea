use std::sync::{Arc, Mutex};

use crate::devices::bus::{Bus, BusDevice};

#[derive(Default)]
struct Recorder {
    writes: Vec<(u64, Vec<u8>)>,
}

impl BusDevice for Recorder {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(u8::try_from(offset).unwrap());
    }
    fn write(&mut self, offset: u64, data: &[u8]) {
        self.writes.push((offset, data.to_vec()));
    }
}

fn bus_with_device_at_0x100() -> (Bus, Arc<Mutex<Recorder>>) {
    let device = Arc::new(Mutex::new(Recorder::default()));
    let mut bus = Bus::default();
    bus.insert(0x100..0x108, device.clone());
    (bus, device)
}

#[test]
fn access_reaches_the_device_with_its_offset() {
    let (bus, device) = bus_with_device_at_0x100();
    let mut data = [0; 2];

    bus.read(0x103, &mut data);
    bus.write(0x107, &[9]);

    assert_eq!(data, [3, 3]);
    assert_eq!(device.lock().unwrap().writes, [(7, vec![9])]);
}

#[test]
fn address_without_a_device_reads_all_ones() {
    let (bus, _) = bus_with_device_at_0x100();
    let mut data = [0; 4];

    bus.read(0x0ff, &mut data);
    assert_eq!(data, [0xff; 4]);
    data.fill(0);
    bus.read(u64::MAX, &mut data);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn access_that_straddles_the_end_of_a_window_belongs_to_nobody() {
    let (bus, device) = bus_with_device_at_0x100();
    let mut data = [0; 4];

    bus.read(0x106, &mut data);
    bus.write(0x106, &[1, 2, 3, 4]);

    assert_eq!(data, [0xff; 4]);
    assert!(device.lock().unwrap().writes.is_empty());
}

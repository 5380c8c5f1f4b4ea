use std::sync::{Arc, Mutex};

use crate::arch::x86_64::ioapic::{IoApic, Route, RouteTable};
use crate::devices::bus::BusDevice;

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Vec<Route>>>>);

impl RouteTable for Recorder {
    fn set_routes(&self, routes: &[Route]) {
        self.0.lock().unwrap().push(routes.to_vec());
    }
}

fn write(apic: &mut IoApic<Recorder>, register: u8, value: u32) {
    apic.write(0x00, &u32::from(register).to_le_bytes());
    apic.write(0x10, &value.to_le_bytes());
}

fn read(apic: &mut IoApic<Recorder>, register: u8) -> u32 {
    apic.write(0x00, &u32::from(register).to_le_bytes());
    let mut data = [0; 4];
    apic.read(0x10, &mut data);
    u32::from_le_bytes(data)
}

#[test]
fn unmasked_pin_becomes_a_route() {
    let recorder = Recorder::default();
    let mut apic = IoApic::new(recorder.clone());

    write(&mut apic, 0x10 + 5 * 2 + 1, 0x0300_0000);
    write(&mut apic, 0x10 + 5 * 2, 0x0831);

    let calls = recorder.0.lock().unwrap();
    assert_eq!(*calls, [vec![Route { pin: 5, address: 0xfee0_3004, data: 0x31 }]]);
}

#[test]
fn masking_a_pin_removes_its_route() {
    let recorder = Recorder::default();
    let mut apic = IoApic::new(recorder.clone());
    write(&mut apic, 0x10, 0x30);

    write(&mut apic, 0x10, 0x1_0030);

    assert_eq!(recorder.0.lock().unwrap().last().unwrap(), &[]);
}

#[test]
fn writes_to_masked_pins_do_not_disturb_the_routes() {
    let recorder = Recorder::default();
    let mut apic = IoApic::new(recorder.clone());

    for pin in 0..16 {
        write(&mut apic, 0x10 + pin * 2 + 1, 0);
        write(&mut apic, 0x10 + pin * 2, 0x1_0000);
    }

    assert!(recorder.0.lock().unwrap().is_empty());
}

#[test]
fn table_reads_back_but_for_read_only_bits() {
    let mut apic = IoApic::new(Recorder::default());

    write(&mut apic, 0x12, 0xffff_ffff);

    assert_eq!(read(&mut apic, 0x12), 0xffff_afff);
}

#[test]
fn version_register_tells_the_number_of_pins() {
    assert_eq!(read(&mut IoApic::new(Recorder::default()), 1), 15 << 16 | 0x11);
}

#[test]
fn registers_beyond_the_table_read_zero_and_ignore_writes() {
    let recorder = Recorder::default();
    let mut apic = IoApic::new(recorder.clone());

    for register in 0x30..=0xff {
        write(&mut apic, register, 0);
        assert_eq!(read(&mut apic, register), 0);
    }

    assert!(recorder.0.lock().unwrap().is_empty());
}

#[test]
fn access_of_every_width_at_every_offset_is_survived() {
    let mut apic = IoApic::new(Recorder::default());

    for offset in 0..0x40 {
        for width in 0..=8 {
            apic.write(offset, &vec![0xff; width]);
            apic.read(offset, &mut vec![0; width]);
        }
    }
}

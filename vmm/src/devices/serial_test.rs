use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::devices::bus::BusDevice;
use crate::devices::serial::{IrqLine, SerialPort};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn string_write_to_the_data_register_comes_out_in_order() {
    let sink = Sink::default();
    let mut port = SerialPort::new(IrqLine(EventFd::new(EFD_NONBLOCK).unwrap()), sink.clone());

    port.write(0, b"hello");

    assert_eq!(*sink.0.lock().unwrap(), b"hello");
}

#[test]
fn transmitter_is_always_ready() {
    let mut port = SerialPort::new(IrqLine(EventFd::new(EFD_NONBLOCK).unwrap()), Sink::default());
    let mut line_status = [0];

    port.read(5, &mut line_status);

    assert_eq!(line_status[0] & 0x20, 0x20);
}

#[test]
fn register_outside_of_the_port_is_ignored() {
    let sink = Sink::default();
    let mut port = SerialPort::new(IrqLine(EventFd::new(EFD_NONBLOCK).unwrap()), sink.clone());
    let mut data = [7];

    port.write(0x1_0000, b"x");
    port.read(0x1_0000, &mut data);

    assert!(sink.0.lock().unwrap().is_empty());
    assert_eq!(data, [7]);
}

//! What a PC has besides virtio: ports and the I/O APIC.
//!
//! Responsible for: accesses of every width at every offset. Must not know: KVM.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::script::Script;
use crate::arch::x86_64::ioapic::{IoApic, PINS, Route, RouteTable};
use crate::devices::bus::{Bus, BusDevice};
use crate::devices::i8042::{self, ResetPort};
use crate::devices::serial::{self, IrqLine, SerialPort};
use crate::exit::ExitLatch;
use crate::memory::LOCAL_APIC_START;

/// An input longer than that finds nothing more.
const MAX_ACCESSES: usize = 128;
/// Ports that a PC has.
const PORTS: u64 = 1 << 16;

/// Counts what the serial port writes.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<usize>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bus of ports. A port without a device is all ones, only the command that means it resets the machine, and nothing comes out of
/// the serial port that was not written to it. Deep: a byte comes out while the port has its interrupt for that on.
pub fn ports(data: &[u8]) -> bool {
    let Ok(exit) = ExitLatch::new().map(Arc::new) else { return false };
    let Ok(irq) = EventFd::new(EFD_NONBLOCK) else { return false };
    let sink = Sink::default();
    let written = || *sink.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Bus::default();
    let command = i8042::COMMAND_PORT..i8042::COMMAND_PORT + 1;
    ports.insert(command.clone(), Arc::new(Mutex::new(ResetPort::new(exit.clone()))));
    ports.insert(serial::PORTS, Arc::new(Mutex::new(SerialPort::new(IrqLine(irq), sink.clone()))));
    let (mut given, mut asked, mut deep) = (0, false, false);
    let mut script = Script::new(data);
    for _ in 0..MAX_ACCESSES {
        if script.is_over() {
            break;
        }
        let choice = script.byte();
        // Most accesses are to somewhere.
        let port = match choice >> 6 {
            0 => u64::from(script.short()),
            1 => i8042::COMMAND_PORT,
            _ => serial::PORTS.start + u64::from(choice >> 3 & 7),
        };
        let width = usize::from(choice & 7) + 1;
        if script.byte() & 1 == 0 {
            let mut bytes = vec![0; width];
            ports.read(port, &mut bytes);
            let owned = [&command, &serial::PORTS].iter().any(|window| window.contains(&port));
            assert!(owned || bytes.iter().all(|byte| *byte == 0xff), "port {port:#x} answers");
        } else {
            let bytes = script.bytes(width);
            let before = written();
            ports.write(port % PORTS, bytes);
            given += if serial::PORTS.contains(&port) { bytes.len() } else { 0 };
            asked |= command.contains(&port) && bytes.len() == 1 && bytes.first() == Some(&0xfe);
            let mut enabled = [0];
            ports.read(serial::PORTS.start + 1, &mut enabled);
            deep |= written() > before && enabled == [2];
        }
        assert!(written() <= given, "{} bytes came out of {given}", written());
        assert_eq!(exit.is_set(), asked, "the machine is reset, or is not");
    }
    deep
}

/// The last routes.
#[derive(Clone, Default)]
struct Routes(Arc<Mutex<Vec<Route>>>);

impl RouteTable for Routes {
    fn set_routes(&self, routes: &[Route]) {
        let mut pins = [false; PINS as usize];
        for route in routes {
            let pin = pins.get_mut(usize::from(route.pin));
            assert!(pin.is_some_and(|taken| !std::mem::replace(taken, true)), "{route:?} in {routes:?}");
            assert_eq!(route.address & 0xfff0_0000, LOCAL_APIC_START, "{route:?} leads elsewhere");
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = routes.to_vec();
    }
}

/// The registers of the I/O APIC. Routes are of pins that there are, each once, and lead to local APICs. Deep: three pins have one.
pub fn io_apic(data: &[u8]) -> bool {
    let routes = Routes::default();
    let mut device = IoApic::new(routes.clone());
    let mut script = Script::new(data);
    let mut deep = false;
    for _ in 0..MAX_ACCESSES {
        if script.is_over() {
            break;
        }
        let choice = script.byte();
        let offset = match choice >> 6 {
            0 => u64::from(script.short() % 0x1000),
            1 => 0,
            _ => 0x10,
        };
        let width = usize::from(choice & 7) + 1;
        if choice >> 3 & 1 == 0 {
            device.read(offset, &mut vec![0xff; width]);
        } else {
            device.write(offset, script.bytes(if choice & 4 == 0 { 4 } else { width }));
        }
        deep |= routes.0.lock().unwrap_or_else(PoisonError::into_inner).len() == 3;
    }
    deep
}

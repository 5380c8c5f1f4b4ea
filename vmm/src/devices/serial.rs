//! The serial port, for kernel messages.
//!
//! Responsible for: a 16550 at COM1, whose last bytes are kept, and all of which may go to a file. Must not know: who reads them. Follows the
//! National Semiconductor 16550 data sheet, as vm-superio implements it.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};
use vmm_sys_util::eventfd::EventFd;

use crate::devices::bus::BusDevice;
use crate::devices::console_tail::ConsoleTail;
use crate::logger::LOG_MARK;

/// COM1.
pub const PORTS: Range<u64> = 0x3f8..0x400;
/// COM1's interrupt.
pub const IRQ: u32 = 4;

/// The interrupt line of the port.
pub struct IrqLine(pub EventFd);

impl Trigger for IrqLine {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Where the port's bytes go.
pub struct Output {
    /// The last of them.
    pub tail: &'static ConsoleTail,
    /// All of them, if somebody wants to see them at once.
    pub file: Option<File>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Of the port's holding register, which has one byte at a time.
        for byte in bytes {
            let byte = [if *byte == LOG_MARK { b'?' } else { *byte }];
            self.tail.push(&byte);
            if let Some(file) = &mut self.file {
                file.write_all(&byte)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

/// A serial port that writes to `W` and receives nothing.
pub struct SerialPort<W: Write = Output> {
    uart: Serial<IrqLine, NoEvents, W>,
}

impl<W: Write> SerialPort<W> {
    /// A port that raises `irq`.
    pub fn new(irq: IrqLine, output: W) -> Self {
        SerialPort { uart: Serial::new(irq, output) }
    }
}

impl<W: Write + Send> BusDevice for SerialPort<W> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        // Registers are one byte wide: a wider access or a string of them meets the same register.
        let Ok(register) = u8::try_from(offset) else { return };
        for byte in data {
            *byte = self.uart.read(register);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(register) = u8::try_from(offset) else { return };
        for byte in data {
            if let Err(error) = self.uart.write(register, *byte) {
                log::warn!("serial port: {error:?}");
            }
        }
    }
}

//! The one thing left of the keyboard controller: the line that resets the machine.
//!
//! Responsible for: port 0x64, so that `reboot=k` ends the virtual machine. Must not know: what happens then. Follows the
//! IBM PC/AT technical reference: status bit 1 clear means that the controller takes a command, command 0xfe pulses reset.

use std::sync::Arc;

use crate::devices::bus::BusDevice;
use crate::exit::{Exit, ExitLatch};

/// Status and command port.
pub const COMMAND_PORT: u64 = 0x64;

const STATUS_INPUT_BUFFER_EMPTY: u8 = 0;
const COMMAND_RESET: u8 = 0xfe;

/// The reset line.
pub struct ResetPort {
    exit: Arc<ExitLatch>,
}

impl ResetPort {
    /// A reset line that ends the machine behind `exit`.
    pub fn new(exit: Arc<ExitLatch>) -> Self {
        ResetPort { exit }
    }
}

impl BusDevice for ResetPort {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(STATUS_INPUT_BUFFER_EMPTY);
    }

    fn write(&mut self, _offset: u64, data: &[u8]) {
        if data.first() == Some(&COMMAND_RESET) {
            self.exit.set(Ok(Exit::Reset));
        }
    }
}

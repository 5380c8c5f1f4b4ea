use std::sync::Arc;

use crate::devices::bus::BusDevice;
use crate::devices::i8042::ResetPort;
use crate::exit::{Exit, ExitLatch};

#[test]
fn command_0xfe_resets_the_machine() {
    let exit = Arc::new(ExitLatch::new().unwrap());
    let mut port = ResetPort::new(exit.clone());

    port.write(0, &[0xfe]);

    assert_eq!(exit.take().unwrap().unwrap(), Exit::Reset);
}

#[test]
fn other_commands_and_no_data_are_ignored() {
    let exit = Arc::new(ExitLatch::new().unwrap());
    let mut port = ResetPort::new(exit.clone());

    port.write(0, &[0xd1]);
    port.write(0, &[]);

    assert!(!exit.is_set());
}

#[test]
fn controller_always_accepts_a_command() {
    let mut port = ResetPort::new(Arc::new(ExitLatch::new().unwrap()));
    let mut status = [0xff];

    port.read(0, &mut status);

    assert_eq!(status[0] & 0x02, 0);
}

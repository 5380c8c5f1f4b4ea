//! Devices outside virtio, and the buses that lead to them.

pub mod bus;
pub mod console_tail;
pub mod i8042;
pub mod serial;

#[cfg(test)]
mod bus_test;
#[cfg(test)]
mod console_tail_test;
#[cfg(test)]
mod i8042_test;
#[cfg(test)]
mod serial_test;

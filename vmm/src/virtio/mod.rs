//! Virtio devices and their transport.

pub mod balloon;
pub mod device;
pub mod fs;
pub mod mmio;
pub mod net;
pub mod queue;
pub mod rng;
pub mod vsock;

#[cfg(test)]
mod balloon_test;
#[cfg(test)]
mod fs_test;
#[cfg(test)]
mod mmio_test;
#[cfg(test)]
mod queue_test;
#[cfg(test)]
mod rng_test;

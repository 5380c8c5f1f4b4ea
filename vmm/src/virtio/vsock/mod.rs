//! The socket device: streams between the guest and unix sockets of the host.
//!
//! Responsible for: moving packets between the queues and the [`multiplexer`]. Must not know: who talks to whom. Follows
//! the virtio specification 1.2, section 5.10.

mod connection;
mod multiplexer;
mod packet;

#[cfg(test)]
mod multiplexer_test;
#[cfg(test)]
mod packet_test;
#[cfg(test)]
mod vsock_test;

use std::os::fd::RawFd;

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use self::multiplexer::Multiplexer;
use self::packet::HOST_CID;
use super::device::{ActivateError, Activation, FEATURES_COMMON, VirtioDevice};
use super::queue::{ActiveQueue, QueueError};
use crate::log_limit::guest_warn;
use crate::{Error, VsockConfig};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Receive, transmit, event. Linux fills the receive queue with buffers of a page each: 256 of them are what one
/// connection's window can hold.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// The socket device.
pub struct Vsock {
    config: [u8; 8],
    queues: Option<Queues>,
    multiplexer: Multiplexer,
}

struct Queues {
    receive: ActiveQueue,
    transmit: ActiveQueue,
}

impl Vsock {
    /// A device whose host ends are those of `config`.
    pub fn new(config: VsockConfig) -> Result<Self, Error> {
        let cid = u64::from(config.guest_cid);
        if cid <= HOST_CID || config.guest_cid == u32::MAX {
            return Err(Error::Config(format!("context ID {cid} is reserved")));
        }
        let multiplexer = Multiplexer::new(cid, config.guest_to_host, config.host_to_guest)?;
        Ok(Vsock { config: cid.to_le_bytes(), queues: None, multiplexer })
    }

    /// Moves packets both ways until neither queue can go on.
    fn pump(&mut self) {
        let Some(queues) = &mut self.queues else { return };
        let multiplexer = &mut self.multiplexer;
        if let Err(error) = queues.pump(multiplexer) {
            guest_warn!("virtio-vsock: {error}");
            self.queues = None;
            self.multiplexer.forget_guest();
        }
    }
}

impl Queues {
    fn pump(&mut self, multiplexer: &mut Multiplexer) -> Result<(), QueueError> {
        loop {
            self.transmit(multiplexer)?;
            self.receive(multiplexer)?;
            // Transmission pauses while replies wait for receive buffers; if some went out, it can go on.
            if !multiplexer.take_paused() || !multiplexer.has_room_for_reply() {
                return Ok(());
            }
        }
    }

    fn transmit(&mut self, multiplexer: &mut Multiplexer) -> Result<(), QueueError> {
        self.transmit.serve(|ram, chain| {
            if !multiplexer.has_room_for_reply() {
                multiplexer.set_paused();
                return None;
            }
            match packet::read(ram, chain) {
                Ok((header, payload)) => multiplexer.receive_from_guest(&header, payload),
                Err(error) => guest_warn!("virtio-vsock: {error}"),
            }
            Some(0)
        })
    }

    fn receive(&mut self, multiplexer: &mut Multiplexer) -> Result<(), QueueError> {
        if !multiplexer.has_packet() {
            return Ok(());
        }
        self.receive.serve(|ram, chain| {
            if !multiplexer.has_packet() {
                return None;
            }
            match packet::Slot::new(ram, chain) {
                Ok(mut slot) => multiplexer.send_to_guest(slot.payload()).map(|header| slot.finish(&header)),
                Err(error) => {
                    guest_warn!("virtio-vsock: {error}");
                    Some(0)
                }
            }
        })
    }
}

impl VirtioDevice for Vsock {
    fn id(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        FEATURES_COMMON
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let mut queues = activation.queues.into_iter();
        let (Some(Some(receive)), Some(Some(transmit))) = (queues.next(), queues.next()) else {
            return Err("the driver did not set up both data queues".into());
        };
        let active = |queue| ActiveQueue::new(queue, activation.ram.clone(), activation.interrupt.clone());
        self.queues = Some(Queues { receive: active(receive), transmit: active(transmit) });
        Ok(())
    }

    fn reset(&mut self) {
        // Linux resets its devices on the way into a reboot: what it sent just before may still be in the queue.
        self.pump();
        if self.queues.take().is_some() {
            self.multiplexer.forget_guest();
        }
    }

    fn notified(&mut self, index: usize) {
        if index == RECEIVE || index == TRANSMIT {
            self.pump();
        }
    }

    fn outside_descriptor(&self) -> Option<RawFd> {
        Some(self.multiplexer.descriptor())
    }

    fn outside_event(&mut self) {
        self.multiplexer.host_events();
        self.pump();
    }

    fn finish(&mut self) {
        self.pump();
        self.multiplexer.finish();
    }
}

//! The socket device: streams between the guest and unix sockets of the host.
//!
//! Responsible for: moving packets between the queues and the [`multiplexer`]. Must not know: who talks to whom. Follows
//! the virtio specification 1.2, section 5.10.

mod connection;
mod multiplexer;
pub mod packet;

#[cfg(test)]
mod multiplexer_test;
#[cfg(test)]
mod packet_test;
#[cfg(test)]
mod vsock_test;
#[cfg(test)]
mod wakeups_test;

use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use vmm_sys_util::eventfd::EventFd;

use self::multiplexer::Multiplexer;
use self::packet::HOST_CID;
use super::device::{ActivateError, Activation, FEATURES_COMMON, Outside, VirtioDevice, serve_again};
use super::queue::{ActiveQueue, QueueError, Served};
use crate::{Error, VsockConfig};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// Receive, transmit, event. Linux fills the receive queue with buffers of a page each: 256 of them are what one
/// connection's window can hold.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// Turns that a driver's reset of the device waits for. Each takes as many packets as a queue holds, or as may be answered
/// before the driver takes answers, of which a queue holds four times as many; a driver that resets the device
/// sends no more, and one that does all the same is not waited for.
const TURNS_BEFORE_RESET: usize = 8;

/// The socket device.
pub struct Vsock {
    config: [u8; 8],
    queues: Option<Queues>,
    multiplexer: Multiplexer,
}

struct Queues {
    receive: ActiveQueue,
    transmit: ActiveQueue,
    kicks: Arc<[EventFd]>,
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

    /// Moves packets both ways for one turn, and comes back to what is left.
    fn pump(&mut self) {
        if self.take_turn() == Served::Part
            && let Some(queues) = &self.queues
        {
            serve_again(&queues.kicks, TRANSMIT);
        }
    }

    fn take_turn(&mut self) -> Served {
        let Some(queues) = &mut self.queues else { return Served::Everything };
        queues.take_turn(&mut self.multiplexer).unwrap_or_else(|error| {
            log::warn!("virtio-vsock: {error}");
            self.queues = None;
            self.multiplexer.forget_guest();
            Served::Everything
        })
    }
}

impl Queues {
    fn take_turn(&mut self, multiplexer: &mut Multiplexer) -> Result<Served, QueueError> {
        let parts = [self.transmit(multiplexer)?, self.receive(multiplexer)?];
        // Transmission pauses while replies wait for receive buffers; if some went out, it can go on.
        let goes_on = multiplexer.take_paused() && multiplexer.has_room_for_reply();
        Ok(if goes_on || parts.contains(&Served::Part) { Served::Part } else { Served::Everything })
    }

    fn transmit(&mut self, multiplexer: &mut Multiplexer) -> Result<Served, QueueError> {
        self.transmit.serve(|ram, chain| {
            if !multiplexer.has_room_for_reply() {
                multiplexer.set_paused();
                return None;
            }
            match packet::read(ram, chain) {
                Ok((header, payload)) => multiplexer.receive_from_guest(&header, payload),
                Err(error) => log::warn!("virtio-vsock: {error}"),
            }
            Some(0)
        })
    }

    fn receive(&mut self, multiplexer: &mut Multiplexer) -> Result<Served, QueueError> {
        if !multiplexer.has_packet() {
            return Ok(Served::Everything);
        }
        self.receive.serve(|ram, chain| {
            if !multiplexer.has_packet() {
                return None;
            }
            match packet::Slot::new(ram, chain) {
                Ok(mut slot) => multiplexer.send_to_guest(slot.payload()).map(|header| slot.finish(&header)),
                Err(error) => {
                    log::warn!("virtio-vsock: {error}");
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
        let (receive, transmit) = (active(receive), active(transmit));
        self.queues = Some(Queues { receive, transmit, kicks: activation.kicks });
        Ok(())
    }

    fn reset(&mut self) {
        // Linux resets its devices on the way into a reboot: what it sent just before may still be in the queue.
        for _ in 0..TURNS_BEFORE_RESET {
            if self.take_turn() == Served::Everything {
                break;
            }
        }
        if self.queues.take().is_some() {
            self.multiplexer.forget_guest();
        }
    }

    fn status_is_constant(&self) -> bool {
        true
    }

    fn notified(&mut self, index: usize) {
        if index == RECEIVE || index == TRANSMIT {
            self.pump();
        }
    }

    fn outside_descriptors(&self) -> Vec<Outside> {
        vec![Outside::Readable(self.multiplexer.descriptor())]
    }

    fn outside_event(&mut self, _index: usize) {
        self.multiplexer.host_events();
        self.pump();
    }

    fn finish(&mut self) {
        // The queues hold what they hold: no driver runs that could add to them.
        while self.take_turn() == Served::Part {}
        self.multiplexer.finish();
    }
}

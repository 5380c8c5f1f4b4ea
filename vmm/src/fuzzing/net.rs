//! The network card.
//!
//! Responsible for: a driver that sets queues up as a guest does, and one that does with them what its input says; headers of frames
//! alone. Must not know: other devices. Follows the virtio specification 1.2, section 2.7, "Split Virtqueues", from the driver's
//! side.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::script::Script;
use crate::memory::GuestRam;
use crate::virtio::device::{Activation, FEATURE_EVENT_IDX, FEATURES_COMMON, Interrupt, VirtioDevice};
use crate::virtio::net::Net;
use crate::virtio::net::features::Features;
use crate::virtio::net::header::{CHECKED_BYTES, HEADER_BYTES, Header, MIN_FRAME_BYTES};
use crate::virtio::queue::QueueSetup;
use crate::{NetConfig, NetLimits};

/// A guest's memory here; the first part holds queues.
const RAM_BYTES: usize = 4 << 20;
const QUEUE_ENTRIES: u16 = 256;
/// Descriptors, available ring and used ring of one queue, a page each at least.
const QUEUE_BYTES: u64 = 0x4000;
const FIRST_QUEUE: u64 = 0x1_0000;

/// Where a buffer is, its length, and whether the device writes to it.
pub type Buffer = (u64, u32, bool);

/// The driver's end of a network card, and the host's.
pub struct NetDriver {
    /// The card.
    pub device: Net,
    /// Its guest's memory.
    pub ram: GuestRam,
    /// Its interrupt.
    pub interrupt: Arc<Interrupt>,
    /// Of its queues.
    pub kicks: Arc<[EventFd]>,
    /// What the host has instead of a network: a packet is one read or write.
    pub network: Vec<File>,
    available: Vec<u16>,
    next_descriptor: Vec<u16>,
}

impl NetDriver {
    /// A card that is not running yet.
    pub fn new(pairs: usize, limits: NetLimits) -> Result<Self, Box<dyn std::error::Error>> {
        let (mut queues, mut network) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (card, host): (OwnedFd, OwnedFd) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            queues.push(File::from(card));
            network.push(File::from(host));
        }
        let (mac, mtu, vhost) = ([2, 0, 0, 0, 0, 1], Some(1500), Vec::new());
        let config = NetConfig { queues, mac, mtu, limits, vhost };
        let device = Net::new(config, Arc::new(Box::default()))?;
        let count = device.queue_sizes().len();
        let event = || EventFd::new(EFD_NONBLOCK);
        let kicks: Vec<EventFd> = (0..count).map(|_| event()).collect::<Result<_, _>>()?;
        Ok(NetDriver {
            device,
            ram: GuestRam::from_ranges(&[(GuestAddress(0), RAM_BYTES)])?,
            interrupt: Arc::new(Interrupt::new(event()?)),
            kicks: kicks.into(),
            network,
            available: vec![0; count],
            next_descriptor: vec![0; count],
        })
    }

    fn setup(queue: usize) -> QueueSetup {
        let descriptors = FIRST_QUEUE + queue as u64 * QUEUE_BYTES;
        let (available, used) = (descriptors + 0x1000, descriptors + 0x2000);
        QueueSetup { size: QUEUE_ENTRIES, ready: true, descriptors, available, used }
    }

    /// Sets up all queues, empty, and starts the card.
    pub fn activate(&mut self, features: u64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let event_idx = features & FEATURE_EVENT_IDX != 0;
        let mut queues = Vec::new();
        for (queue, size) in self.device.queue_sizes().iter().enumerate() {
            let setup = Self::setup(queue);
            self.ram.write_slice(&[0; QUEUE_BYTES as usize], GuestAddress(setup.descriptors))?;
            let setup = QueueSetup { size: *size, ..setup };
            queues.push(setup.build(&self.ram, *size, event_idx)?);
        }
        self.available.fill(0);
        self.next_descriptor.fill(0);
        self.device.activate(Activation {
            ram: self.ram.clone(),
            queues,
            features: FEATURES_COMMON | features,
            interrupt: self.interrupt.clone(),
            kicks: self.kicks.clone(),
        })
    }

    fn entries(&self, queue: usize) -> u16 {
        self.device.queue_sizes().get(queue).copied().unwrap_or(1)
    }

    /// Makes a chain available. Nothing it says is checked.
    pub fn add(&mut self, queue: usize, buffers: &[Buffer]) -> Option<u16> {
        let (setup, entries) = (Self::setup(queue), self.entries(queue));
        let next = self.next_descriptor.get_mut(queue)?;
        let head = *next % entries;
        for (index, (address, length, writable)) in buffers.iter().enumerate() {
            let (at, behind) = (*next % entries, next.wrapping_add(1) % entries);
            let more = u16::from(index + 1 < buffers.len());
            let flags = more | if *writable { 2 } else { 0 };
            let mut descriptor = [0; 16];
            for (slot, byte) in descriptor.iter_mut().zip(
                address
                    .to_le_bytes()
                    .into_iter()
                    .chain(length.to_le_bytes())
                    .chain(flags.to_le_bytes())
                    .chain(behind.to_le_bytes()),
            ) {
                *slot = byte;
            }
            self.ram.write_slice(&descriptor, GuestAddress(setup.descriptors + 16 * u64::from(at))).ok()?;
            *next = next.wrapping_add(1);
        }
        let available = self.available.get_mut(queue)?;
        let slot = setup.available + 4 + 2 * u64::from(*available % entries);
        self.ram.write_obj(head.to_le(), GuestAddress(slot)).ok()?;
        *available = available.wrapping_add(1);
        self.ram.write_obj(available.to_le(), GuestAddress(setup.available + 2)).ok()?;
        Some(head)
    }

    /// Writes the index of the available ring, whatever is in the ring.
    pub fn set_available(&mut self, queue: usize, index: u16) {
        let _ = self.ram.write_obj(index.to_le(), GuestAddress(Self::setup(queue).available + 2));
    }

    /// Chains that the card has given back, as heads and bytes written, since the queue was set up; the last ones if there are many.
    pub fn used(&self, queue: usize) -> Vec<(u32, u32)> {
        let (setup, entries) = (Self::setup(queue), self.entries(queue));
        let index: u16 = self.ram.read_obj(GuestAddress(setup.used + 2)).unwrap_or_default();
        (0..u16::from_le(index))
            .rev()
            .take(usize::from(entries))
            .map(|entry| {
                let at = setup.used + 4 + 8 * u64::from(entry % entries);
                let [head, bytes]: [u32; 2] = self.ram.read_obj(GuestAddress(at)).unwrap_or_default();
                (u32::from_le(head), u32::from_le(bytes))
            })
            .rev()
            .collect()
    }

    /// Notifies the card of a queue, and again as often as it asks for that itself, up to a bound.
    pub fn notify(&mut self, queue: usize) {
        self.device.notified(queue);
        for _ in 0..16 {
            let again: Vec<usize> = (0..)
                .zip(self.kicks.iter())
                .filter(|(_, kick)| kick.read().is_ok())
                .map(|(i, _)| i)
                .collect();
            if again.is_empty() {
                break;
            }
            again.into_iter().for_each(|queue| self.device.notified(queue));
        }
    }

    /// Takes one packet that the card has sent.
    pub fn sent(&mut self, pair: usize) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1 << 17];
        let bytes = self.network.get_mut(pair)?.read(&mut packet).ok()?;
        packet.truncate(bytes);
        Some(packet)
    }

    /// Has one packet come in. Whether there was room for it.
    pub fn arrive(&mut self, pair: usize, packet: &[u8]) -> bool {
        self.network.get_mut(pair).is_some_and(|network| network.write(packet).is_ok())
    }
}

/// A guest that does anything with a network card: the input is a sequence of acts. It must neither panic nor hang, and a reset has to
/// bring the card back. Deep: a frame with something in it gets out.
pub fn net(data: &[u8]) -> bool {
    let Some((choice, mut acts)) = data.split_first_chunk::<8>() else { return false };
    let features = u64::from_le_bytes(*choice);
    let Ok(mut driver) = NetDriver::new(1 + (features >> 63) as usize, NetLimits::default()) else {
        return false;
    };
    let features = features & driver.device.features();
    let _ = driver.activate(features);
    let queues = driver.device.queue_sizes().len();
    let mut deep = false;
    while let Some(([act, queue, a, b, c, d, e, f], rest)) = acts.split_first_chunk::<8>() {
        acts = rest;
        let queue = usize::from(*queue) % (queues + 1);
        let (x, y, z) =
            (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]), u16::from_le_bytes([*e, *f]));
        match act % 8 {
            0 => driver.notify(queue),
            1 => driver.device.outside_event(queue),
            2 => {
                let count = usize::from(x % 300);
                let buffer = (u64::from(y) << 7, u32::from(z) << (x >> 12), queue.is_multiple_of(2));
                driver.add(queue, &vec![buffer; count]);
            }
            3 => driver.set_available(queue, x),
            // Headers, command bytes, descriptors: anything anywhere.
            4 => {
                let at = GuestAddress(u64::from(x) << (z & 7));
                let _ = driver.ram.write_slice(&[*c, *d, *e, *f], at);
            }
            5 => {
                let at = NetDriver::setup(queue).descriptors + 16 * u64::from(x % 256);
                let _ = driver.ram.write_slice(&[*c, *d, *e, *f, *a, *b, *c, *d], GuestAddress(at + 8));
            }
            6 => {
                let pair = queue % driver.network.len().max(1);
                driver.arrive(pair, &vec![*e; usize::from(x)]);
                driver.device.outside_event(pair);
            }
            _ => {
                driver.device.reset();
                let _ = driver.activate(features);
            }
        }
        for pair in 0..driver.network.len() {
            while let Some(packet) = driver.sent(pair).filter(|packet| !packet.is_empty()) {
                assert!(packet.len() >= HEADER_BYTES + MIN_FRAME_BYTES, "a frame of {} bytes", packet.len());
                deep |= packet.iter().skip(HEADER_BYTES).any(|byte| *byte != 0);
            }
        }
    }
    driver.device.reset();
    assert!(driver.activate(features).is_ok(), "the card does not come back");
    deep
}

/// The header of a frame that the guest sends, with the frame's first bytes. What passes asks the host's kernel for nothing outside of
/// the frame. Deep: a frame that is to be split and checksummed passes.
pub fn net_headers(data: &[u8]) -> bool {
    let mut script = Script::new(data);
    let features = Features(script.number(8));
    let frame_bytes = script.number(3) as usize;
    let start = script.rest();
    let Ok(header) = Header::check(start, frame_bytes, features) else { return false };
    let bytes = header.as_bytes();
    assert!(bytes.len() <= start.len() && bytes.len() <= CHECKED_BYTES);
    let mut checked = Script::new(bytes);
    let (flags, segments, headers) = (checked.number(1), checked.number(1), checked.number(2));
    let (_, start, offset) = (checked.number(2), checked.number(2), checked.number(2));
    assert!(headers as usize <= frame_bytes, "headers beyond the frame");
    assert!(flags == 0 || (start + offset + 2) as usize <= frame_bytes, "a checksum beyond the frame");
    assert!(flags == 0 || start as usize >= MIN_FRAME_BYTES, "a checksum in the Ethernet header");
    assert!(header.packets >= 1 && header.packets <= frame_bytes as u64, "{} packets", header.packets);
    flags != 0 && segments != 0
}

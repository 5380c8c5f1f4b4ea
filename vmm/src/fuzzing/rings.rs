//! Devices whose queues a hostile driver fills.
//!
//! Responsible for: rings of which every byte is the input's, wherever they are, and what a device may do to memory then. Must not know:
//! what chains contain. Follows the virtio specification 1.2, section 2.7, "Split Virtqueues", from the driver's side.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use vm_memory::{Bytes, FileOffset, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::script::Script;
use crate::VsockConfig;
use crate::memory::GuestRam;
use crate::virtio::balloon::Balloon;
use crate::virtio::device::{
    Activation, FEATURE_EVENT_IDX, FEATURE_VERSION_1, FEATURES_COMMON, Interrupt, VirtioDevice,
};
use crate::virtio::queue::QueueSetup;
use crate::virtio::rng::Rng;
use crate::virtio::vsock::Vsock;

/// A guest's memory here: three queues of 256 entries and some buffers. So little can be compared as a whole.
pub const RAM_BYTES: usize = 64 << 10;
/// Descriptors, available ring and used ring of one queue.
const QUEUE_BYTES: u64 = 0x3000;
/// Where buffers are that have no better place.
const BUFFERS: u16 = 0x9000;
/// An input longer than that finds nothing more.
const MAX_ACTS: usize = 64;
/// A device that asks to be called again is, so many times.
const MAX_TURNS: usize = 16;
const DESCRIPTOR_BYTES: u64 = 16;
const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
const FLAG_INDIRECT: u16 = 4;
/// Port and context ID of the socket device's guest.
const PORT: u32 = 1024;
const CID: u32 = 3;

thread_local! {
    /// Made once: mapping it takes longer than most inputs. A file, since the balloon gives parts of it back.
    static RAM: Option<GuestRam> = ram().ok();
}

fn ram() -> Result<GuestRam, Box<dyn std::error::Error>> {
    let file = File::from(rustix::fs::memfd_create("fuzzed", MemfdFlags::CLOEXEC)?);
    file.set_len(RAM_BYTES as u64)?;
    let backing = FileOffset::new(file, 0);
    Ok(GuestRam::from_ranges_with_files([(GuestAddress(0), RAM_BYTES, Some(backing))])?)
}

/// Does something with memory that is all zero.
pub fn shared_ram(act: impl FnOnce(&GuestRam) -> bool) -> bool {
    RAM.with(|ram| {
        let Some(ram) = ram else { return false };
        ram.write_slice(&[0; RAM_BYTES], GuestAddress(0)).is_ok() && act(ram)
    })
}

/// Where a driver that has nothing in mind puts a queue.
pub fn usual_setup(queue: usize, size: u16) -> QueueSetup {
    let descriptors = queue as u64 * QUEUE_BYTES;
    let (available, used) = (descriptors + 0x1000, descriptors + 0x2000);
    QueueSetup { size, ready: true, descriptors, available, used }
}

/// A driver and its device.
struct Guest<'a, D: VirtioDevice> {
    device: D,
    ram: &'a GuestRam,
    interrupt: Arc<Interrupt>,
    kicks: Arc<[EventFd]>,
    features: u64,
    /// As the device has them; `None` for one that was left out.
    queues: Vec<Option<QueueSetup>>,
    /// Of each queue: the next descriptor, and how many chains were made available.
    next: Vec<(u16, u16)>,
    /// About how many bytes of buffers the device has changed.
    filled: usize,
}

impl<'a, D: VirtioDevice> Guest<'a, D> {
    fn new(device: D, ram: &'a GuestRam, features: u64) -> Option<Self> {
        let count = device.queue_sizes().len();
        let kicks: Option<Vec<EventFd>> = (0..count).map(|_| EventFd::new(EFD_NONBLOCK).ok()).collect();
        let interrupt = Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).ok()?));
        let (queues, next) = (vec![None; count], vec![(0, 0); count]);
        Some(Guest { device, ram, interrupt, kicks: kicks?.into(), features, queues, next, filled: 0 })
    }

    /// Starts the device; a queue that cannot be is left out.
    fn activate(&mut self, setups: &[QueueSetup]) -> bool {
        let event_idx = self.features & FEATURE_EVENT_IDX != 0;
        let sizes = self.device.queue_sizes().to_vec();
        let built: Vec<_> = setups
            .iter()
            .zip(sizes)
            .map(|(setup, size)| setup.build(self.ram, size, event_idx).ok().flatten())
            .collect();
        let known = setups.iter().zip(&built);
        self.queues = known.map(|(setup, queue)| queue.as_ref().map(|_| *setup)).collect();
        self.next.fill((0, 0));
        self.interrupt.reset();
        let activation = Activation {
            ram: self.ram.clone(),
            queues: built,
            features: self.features,
            interrupt: self.interrupt.clone(),
            kicks: self.kicks.clone(),
        };
        let started = self.device.activate(activation).is_ok();
        if !started {
            self.queues.fill(None);
        }
        started
    }

    fn usual_setups(&self) -> Vec<QueueSetup> {
        let sizes = self.device.queue_sizes().iter();
        sizes.enumerate().map(|(queue, size)| usual_setup(queue, *size)).collect()
    }

    fn reset(&mut self) {
        self.checked(|guest| guest.device.reset());
        self.queues.fill(None);
    }

    /// Notifies the device of a queue, and again as often as it asks for that itself, up to a bound.
    fn notify(&mut self, queue: usize) {
        self.checked(|guest| {
            guest.device.notified(queue);
            for _ in 0..MAX_TURNS {
                let asked = |(queue, kick): (usize, &EventFd)| kick.read().is_ok().then_some(queue);
                let again: Vec<usize> = guest.kicks.iter().enumerate().filter_map(asked).collect();
                if again.is_empty() {
                    break;
                }
                again.into_iter().for_each(|queue| guest.device.notified(queue));
            }
        });
    }

    /// Has the device act, and compares memory: nothing has changed that the driver did not give it to write to.
    fn checked(&mut self, act: impl FnOnce(&mut Self)) {
        let before = self.content();
        let given = self.writable(&before);
        act(self);
        let Some(given) = given else { return };
        let after = self.content();
        let mut at = 0;
        while let Some(changed) = first_difference(&before, &after, at) {
            let holder = given.iter().find(|(range, _)| range.contains(&(changed as u64)));
            assert!(holder.is_some(), "the device wrote to {changed:#x}, which it was not given");
            let Some((range, is_buffer)) = holder else { return };
            at = usize::try_from(range.end).map_or(RAM_BYTES, |end| end.min(RAM_BYTES));
            self.filled += if *is_buffer { at - changed } else { 0 };
        }
    }

    fn content(&self) -> Vec<u8> {
        let mut content = vec![0; RAM_BYTES];
        let read = self.ram.read_slice(&mut content, GuestAddress(0));
        assert!(read.is_ok(), "memory is gone");
        content
    }

    /// What the device may write to: used rings, and buffers that say so, which are marked. `None` if any of that overlaps what the
    /// device reads there: then it may come to be anything.
    fn writable(&self, content: &[u8]) -> Option<Vec<(Range<u64>, bool)>> {
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for setup in self.queues.iter().flatten() {
            let entries = u64::from(setup.size);
            written.push((setup.used..setup.used + 6 + 8 * entries, false));
            read.push(setup.available..setup.available + 6 + 2 * entries);
            table(content, setup.descriptors, entries, &mut written, &mut read, true);
        }
        let overlap = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
        let clash = written.iter().any(|(written, _)| read.iter().any(|read| overlap(written, read)));
        (!clash).then_some(written)
    }

    /// Makes a chain available. Nothing it says is checked.
    fn add(&mut self, queue: usize, buffers: &[(u64, u32, u16)]) {
        let (Some(Some(setup)), Some((next, made))) = (self.queues.get(queue), self.next.get_mut(queue))
        else {
            return;
        };
        let head = *next % setup.size;
        for (index, (address, length, flags)) in buffers.iter().enumerate() {
            let (at, behind) = (*next % setup.size, next.wrapping_add(1) % setup.size);
            let more = if index + 1 < buffers.len() { FLAG_NEXT } else { 0 };
            write_descriptor(self.ram, setup.descriptors, at, (*address, *length, flags | more, behind));
            *next = next.wrapping_add(1);
        }
        let slot = setup.available + 4 + 2 * u64::from(*made % setup.size);
        *made = made.wrapping_add(1);
        let _ = self.ram.write_obj(head.to_le(), GuestAddress(slot));
        let _ = self.ram.write_obj(made.to_le(), GuestAddress(setup.available + 2));
    }

    /// What the input says next, but for what is the host's to do.
    fn act(&mut self, act: u8, script: &mut Script) {
        let queue = usize::from(act >> 3) % (self.queues.len() + 1);
        match act & 7 {
            0 => self.notify(queue),
            1 => {
                let count = 1 + script.byte() % 8;
                let buffers: Vec<_> = (0..count).map(|_| buffer(script)).collect();
                self.add(queue, &buffers);
            }
            // Anything anywhere.
            2 => {
                let (at, count) = (script.short(), script.byte());
                let bytes = script.bytes(usize::from(count));
                let _ = self.ram.write_slice(bytes, GuestAddress(u64::from(at)));
            }
            3 => {
                let (at, descriptor) = (script.short(), (script.number(8), script.number(4) as u32));
                if let Some(Some(setup)) = self.queues.get(queue) {
                    let descriptor = (descriptor.0, descriptor.1, script.short(), script.short());
                    write_descriptor(self.ram, setup.descriptors, at % 256, descriptor);
                }
            }
            4 => {
                let index = script.short();
                if let Some(Some(setup)) = self.queues.get(queue) {
                    let _ = self.ram.write_obj(index.to_le(), GuestAddress(setup.available + 2));
                }
            }
            5 => {
                // Rings may be anywhere, one over the other.
                let setups: Vec<_> = (0..self.queues.len()).map(|_| setup(script)).collect();
                self.reset();
                self.activate(&setups);
            }
            6 => {
                let setups = self.usual_setups();
                self.reset();
                self.activate(&setups);
            }
            _ => self.checked(|guest| guest.device.outside_event(queue)),
        }
    }

    /// Whatever has happened, a driver that starts again is served.
    fn finish(mut self) {
        self.reset();
        let cleared = self.ram.write_slice(&[0; RAM_BYTES], GuestAddress(0));
        let setups = self.usual_setups();
        assert!(cleared.is_ok() && self.activate(&setups), "the device does not come back");
        (0..self.queues.len()).for_each(|queue| self.notify(queue));
        assert!(!self.interrupt.has_failed(), "the device fails over empty queues");
    }
}

/// Where two contents of memory differ first, from an address on.
fn first_difference(before: &[u8], after: &[u8], at: usize) -> Option<usize> {
    const STEP: usize = 1024;
    let (old, new) = (before.get(at..)?, after.get(at..)?);
    let step = old.chunks(STEP).zip(new.chunks(STEP)).position(|(old, new)| old != new)? * STEP;
    let (old, new) = (old.get(step..)?, new.get(step..)?);
    Some(at + step + old.iter().zip(new).position(|(old, new)| old != new)?)
}

/// What a table of descriptors gives the device to write to, and what of it the device reads.
fn table(
    content: &[u8],
    start: u64,
    entries: u64,
    written: &mut Vec<(Range<u64>, bool)>,
    read: &mut Vec<Range<u64>>,
    may_lead_on: bool,
) {
    read.push(start..start.saturating_add(entries * DESCRIPTOR_BYTES));
    let bytes = usize::try_from(start).ok().and_then(|start| content.get(start..)).unwrap_or_default();
    let descriptors = bytes.chunks_exact(DESCRIPTOR_BYTES as usize).take(entries as usize);
    for descriptor in descriptors.filter(|descriptor| **descriptor != [0; DESCRIPTOR_BYTES as usize]) {
        let mut descriptor = Script::new(descriptor);
        let (address, length, flags) = (descriptor.number(8), descriptor.number(4), descriptor.short());
        if flags & FLAG_INDIRECT != 0 && may_lead_on {
            table(content, address, length / DESCRIPTOR_BYTES, written, read, false);
        }
        if flags & FLAG_WRITE != 0 && length > 0 {
            written.push((address..address.saturating_add(length), true));
        }
    }
}

fn write_descriptor(ram: &GuestRam, table: u64, index: u16, descriptor: (u64, u32, u16, u16)) {
    let (address, length, flags, next) = descriptor;
    let at = table.saturating_add(DESCRIPTOR_BYTES * u64::from(index));
    let parts = u64::from(length) | u64::from(flags) << 32 | u64::from(next) << 48;
    let _ = ram.write_obj([address.to_le(), parts.to_le()], GuestAddress(at));
}

fn buffer(script: &mut Script) -> (u64, u32, u16) {
    let (address, length, kind) = (script.short(), script.short(), script.byte());
    let address = if kind & 8 == 0 { address | BUFFERS } else { address };
    // Some buffers are longer than memory.
    (u64::from(address), u32::from(length) << (kind >> 4), u16::from(kind) & (FLAG_WRITE | FLAG_INDIRECT))
}

fn setup(script: &mut Script) -> QueueSetup {
    let size = script.byte();
    let mut place = |unit: u64| u64::from(script.short()) & !(unit - 1);
    QueueSetup {
        size: 1 << (size & 15),
        ready: size & 128 == 0,
        descriptors: place(16),
        available: place(2),
        used: place(4),
    }
}

/// Has a hostile driver, and the host, act as the input says. Says how many bytes of the driver's buffers the device has changed, and
/// whether the host found what it looks for.
fn run<D: VirtioDevice>(
    device: D,
    data: &[u8],
    mut host: impl FnMut(&mut D, u8, &mut Script) -> bool,
) -> (usize, bool) {
    let mut script = Script::new(data);
    let features = FEATURES_COMMON & (script.number(5) | FEATURE_VERSION_1);
    let (mut filled, mut found) = (0, false);
    shared_ram(|ram| {
        let Some(mut guest) = Guest::new(device, ram, features) else { return false };
        let setups = guest.usual_setups();
        guest.activate(&setups);
        for _ in 0..MAX_ACTS {
            if script.is_over() {
                break;
            }
            let act = script.byte();
            if act & 0xc0 == 0xc0 {
                found |= host(&mut guest.device, act, &mut script);
            } else {
                guest.act(act, &mut script);
            }
        }
        filled = guest.filled;
        guest.finish();
        true
    });
    (filled, found)
}

/// The entropy device. Deep: it has filled more than one request may ask for.
pub fn rng(data: &[u8]) -> bool {
    run(Rng::default(), data, |_, _, _| false).0 > 64 << 10
}

/// The balloon. Deep: a page that held something was given back.
pub fn balloon(data: &[u8]) -> bool {
    run(Balloon::default(), data, |_, _, _| false).0 > 0
}

/// The socket device, with a host program that the guest may connect to. Deep: the program hears from the guest.
pub fn vsock(data: &[u8]) -> bool {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return false };
    if theirs.set_nonblocking(true).is_err() {
        return false;
    }
    let config = VsockConfig { guest_cid: CID, guest_to_host: vec![(PORT, ours)], host_to_guest: None };
    let Ok(device) = Vsock::new(config) else { return false };
    let host = |device: &mut Vsock, act: u8, script: &mut Script| {
        match act & 3 {
            0 => {
                let count = script.byte();
                let _ = theirs.write(script.bytes(usize::from(count)));
            }
            1 => drop(theirs.shutdown(Shutdown::Write)),
            _ => {}
        }
        device.outside_event(0);
        theirs.read(&mut [0; 256]).is_ok_and(|count| count > 0)
    };
    run(device, data, host).1
}

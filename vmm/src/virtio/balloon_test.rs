use std::sync::Arc;

use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::memory::{self, GuestRam};
use crate::virtio::balloon::Balloon;
use crate::virtio::device::{Activation, Interrupt, VirtioDevice};

const REPORTS: usize = 2;
const FREE: GuestAddress = GuestAddress(0x20_0000);
const FREE_BYTES: u32 = 0x20_0000;

fn writable(address: u64, length: u32) -> RawDescriptor {
    RawDescriptor::from(Descriptor::new(address, length, VRING_DESC_F_WRITE as u16, 0))
}

/// Has the queue of this number served with one chain in it.
fn serve(ram: &GuestRam, queue: usize, chain: &[RawDescriptor]) -> u16 {
    let mock = MockSplitQueue::create(ram, GuestAddress(0x1000), 64);
    mock.build_desc_chain(chain).unwrap();
    let mut queues = vec![None, None, None];
    queues[queue] = Some(mock.create_queue().unwrap());
    let mut balloon = Balloon::default();
    balloon
        .activate(Activation {
            ram: ram.clone(),
            queues,
            features: balloon.features(),
            interrupt: Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap())),
            kicks: Arc::new([]),
        })
        .unwrap();
    for index in 0..4 {
        balloon.notified(index);
    }
    u16::from_le(mock.used().idx().load())
}

fn is_used(ram: &GuestRam, address: GuestAddress) -> bool {
    ram.read_obj::<u8>(address).unwrap() != 0
}

fn ram_in_use(pages: &[u64]) -> GuestRam {
    let ram = memory::create(32).unwrap();
    pages.iter().for_each(|page| ram.write_obj(1u8, GuestAddress(*page)).unwrap());
    ram
}

#[test]
fn reported_memory_goes_back_to_the_host_and_its_neighbours_stay() {
    let ram = ram_in_use(&[FREE.0 - 1, FREE.0, FREE.0 + 0x1f_ffff, FREE.0 + 0x20_0000]);
    let allocated = memory::allocated_bytes(&ram);

    let used = serve(&ram, REPORTS, &[writable(FREE.0, FREE_BYTES)]);

    assert_eq!(used, 1);
    assert!(memory::allocated_bytes(&ram) < allocated);
    assert!(!is_used(&ram, FREE) && !is_used(&ram, GuestAddress(FREE.0 + 0x1f_ffff)));
    assert!(is_used(&ram, GuestAddress(FREE.0 - 1)) && is_used(&ram, GuestAddress(FREE.0 + 0x20_0000)));
}

#[test]
fn memory_that_was_given_back_can_be_used_again() {
    let ram = ram_in_use(&[FREE.0]);
    serve(&ram, REPORTS, &[writable(FREE.0, FREE_BYTES)]);

    ram.write_obj(7u8, FREE).unwrap();

    assert_eq!(ram.read_obj::<u8>(FREE).unwrap(), 7);
}

#[test]
fn ranges_that_are_not_memory_are_answered_and_change_nothing() {
    let last = 32 * 1024 * 1024 - 4096;
    let ram = ram_in_use(&[FREE.0, last]);
    let ranges =
        [writable(u64::MAX - 4095, 4096), writable(last, 8192), writable(1 << 40, 4096), writable(last, 0)];

    let used = serve(&ram, REPORTS, &ranges);

    assert_eq!(used, 1);
    assert!(is_used(&ram, FREE) && is_used(&ram, GuestAddress(last)));
}

#[test]
fn memory_that_the_device_may_only_read_stays() {
    let ram = ram_in_use(&[FREE.0]);

    serve(&ram, REPORTS, &[RawDescriptor::from(Descriptor::new(FREE.0, FREE_BYTES, 0, 0))]);

    assert!(is_used(&ram, FREE));
}

#[test]
fn ranges_beyond_what_a_report_holds_stay() {
    let pages: Vec<u64> = (0..40).map(|page| FREE.0 + page * 4096).collect();
    let ram = ram_in_use(&pages);
    let ranges: Vec<_> = pages.iter().map(|page| writable(*page, 4096)).collect();

    serve(&ram, REPORTS, &ranges);

    assert_eq!(pages.iter().filter(|page| is_used(&ram, GuestAddress(**page))).count(), 8);
}

#[test]
fn pages_put_into_the_balloon_are_answered_and_stay() {
    let ram = ram_in_use(&[FREE.0]);

    let answers = [0, 1].map(|queue| serve(&ram, queue, &[writable(FREE.0, FREE_BYTES)]));

    assert_eq!(answers, [1, 1]);
    assert!(is_used(&ram, FREE));
}

#[test]
fn notification_before_activation_is_ignored() {
    Balloon::default().notified(REPORTS);
}

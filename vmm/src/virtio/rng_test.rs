use std::sync::Arc;

use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::memory::{self, GuestRam};
use crate::virtio::device::{Activation, Interrupt, VirtioDevice};
use crate::virtio::rng::Rng;

fn serve(ram: &GuestRam, mock: &MockSplitQueue<GuestRam>) {
    let mut rng = Rng::default();
    rng.activate(Activation {
        ram: ram.clone(),
        queues: vec![Some(mock.create_queue().unwrap())],
        features: 0,
        interrupt: Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap())),
        kicks: Arc::new([]),
    })
    .unwrap();
    rng.notified(0);
}

fn used_length(mock: &MockSplitQueue<GuestRam>) -> u32 {
    assert_eq!(u16::from_le(mock.used().idx().load()), 1);
    mock.used().ring().ref_at(0).unwrap().load().len()
}

#[test]
fn buffers_are_filled_to_the_last_byte_and_not_beyond() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let buffer = Descriptor::new(0x10_0000, 300, VRING_DESC_F_WRITE as u16, 0);
    mock.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();

    serve(&ram, &mock);

    assert_eq!(used_length(&mock), 300);
    let mut bytes = [0; 301];
    ram.read_slice(&mut bytes, GuestAddress(0x10_0000)).unwrap();
    assert!(bytes[284..300].iter().any(|byte| *byte != 0));
    assert_eq!(bytes[300], 0);
}

#[test]
fn huge_request_is_cut_to_64_kib() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let buffer = Descriptor::new(0x10_0000, 16 << 20, VRING_DESC_F_WRITE as u16, 0);
    mock.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();

    serve(&ram, &mock);

    assert_eq!(used_length(&mock), 64 * 1024);
}

#[test]
fn buffer_outside_of_memory_is_returned_empty() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let buffer = Descriptor::new(u64::MAX - 8, 64, VRING_DESC_F_WRITE as u16, 0);
    mock.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();

    serve(&ram, &mock);

    assert_eq!(used_length(&mock), 0);
}

#[test]
fn notification_before_activation_is_ignored() {
    Rng::default().notified(0);
}

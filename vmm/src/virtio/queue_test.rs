use std::sync::Arc;

use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::memory::{self, GuestRam};
use crate::virtio::device::{INTERRUPT_CONFIG, INTERRUPT_QUEUE, Interrupt};
use crate::virtio::queue::{ActiveQueue, QueueError, QueueSetup, Served};

const GOOD: QueueSetup =
    QueueSetup { size: 16, ready: true, descriptors: 0x1000, available: 0x2000, used: 0x3000 };

fn interrupt() -> Arc<Interrupt> {
    Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap()))
}

fn ram() -> GuestRam {
    memory::create(32).unwrap()
}

#[test]
fn queue_that_the_driver_left_out_is_none() {
    let setup = QueueSetup { ready: false, ..GOOD };

    assert!(setup.build(&ram(), 16, true).unwrap().is_none());
}

#[test]
fn queue_inside_of_memory_is_ready() {
    let queue = GOOD.build(&ram(), 16, true).unwrap().unwrap();

    assert!(queue.ready() && queue.event_idx_enabled());
    assert_eq!(queue.size(), 16);
}

#[test]
fn queue_of_an_impossible_size_is_refused() {
    for size in [0, 3, 32, u16::MAX] {
        let setup = QueueSetup { size, ..GOOD };

        assert!(matches!(setup.build(&ram(), 16, true), Err(QueueError::Setup(_))), "{size}");
    }
}

#[test]
fn queue_outside_of_memory_is_refused() {
    for address in [32 << 20, (32 << 20) - 16, 0xd000_0000, !0xf] {
        for setup in [
            QueueSetup { descriptors: address, ..GOOD },
            QueueSetup { available: address, ..GOOD },
            QueueSetup { used: address, ..GOOD },
        ] {
            assert!(matches!(setup.build(&ram(), 16, true), Err(QueueError::Placement)), "{setup:?}");
        }
    }
}

fn write_only(address: u64) -> RawDescriptor {
    RawDescriptor::from(Descriptor::new(address, 16, VRING_DESC_F_WRITE as u16, 0))
}

fn active(mock: &MockSplitQueue<GuestRam>, ram: &GuestRam, interrupt: &Arc<Interrupt>) -> ActiveQueue {
    ActiveQueue::new(mock.create_queue::<Queue>().unwrap(), ram.clone(), interrupt.clone())
}

#[test]
fn all_chains_are_served_with_one_interrupt() {
    let (ram, interrupt) = (ram(), interrupt());
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    mock.build_multiple_desc_chains(&[write_only(0x10_0000), write_only(0x10_1000), write_only(0x10_2000)])
        .unwrap();
    let mut queue = active(&mock, &ram, &interrupt);

    let mut served = 0;
    let outcome = queue.serve(|_, _| {
        served += 1;
        Some(16)
    });

    assert_eq!(outcome.unwrap(), Served::Everything);
    assert_eq!(served, 3);
    assert_eq!(u16::from_le(mock.used().idx().load()), 3);
    assert_eq!(interrupt.event().read().unwrap(), 1);
    assert_eq!(interrupt.status(), INTERRUPT_QUEUE);
}

#[test]
fn chain_that_is_put_back_comes_first_next_time() {
    let (ram, interrupt) = (ram(), interrupt());
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    mock.build_multiple_desc_chains(&[write_only(0x10_0000), write_only(0x10_1000)]).unwrap();
    let mut queue = active(&mock, &ram, &interrupt);
    assert_eq!(queue.serve(|_, _| None).unwrap(), Served::Everything);

    let mut heads = Vec::new();
    let outcome = queue.serve(|_, chain| {
        heads.push(chain.head_index());
        Some(0)
    });

    assert_eq!(outcome.unwrap(), Served::Everything);
    assert_eq!(heads, [0, 1]);
}

#[test]
fn driver_that_adds_a_chain_for_every_one_served_does_not_keep_the_device() {
    let (ram, interrupt) = (ram(), interrupt());
    // All entries of the available ring are zero and name this chain.
    ram.write_obj(write_only(0x10_0000), GuestAddress(GOOD.descriptors)).unwrap();
    let queue = GOOD.build(&ram, 16, false).unwrap().unwrap();
    let mut queue = ActiveQueue::new(queue, ram.clone(), interrupt);
    let mut available = 0;
    let mut add_another = |ram: &GuestRam| {
        available += 1;
        ram.write_obj(u16::to_le(available), GuestAddress(GOOD.available + 2)).unwrap();
    };
    add_another(&ram);

    for turn in 1..=3 {
        let outcome = queue.serve(|ram, _| {
            add_another(ram);
            Some(16)
        });

        assert_eq!(outcome.unwrap(), Served::Part);
        let used: u16 = ram.read_obj(GuestAddress(GOOD.used + 2)).unwrap();
        assert_eq!(u16::from_le(used), 16 * turn);
    }
}

#[test]
fn available_index_beyond_the_queue_is_an_error_and_not_a_loop() {
    let (ram, interrupt) = (ram(), interrupt());
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    mock.avail().idx().store(u16::to_le(17));
    let mut queue = active(&mock, &ram, &interrupt);

    let error = queue.serve(|_, _| Some(0)).unwrap_err();

    assert!(matches!(error, QueueError::Corrupt(_)));
}

#[test]
fn driver_of_a_corrupted_queue_is_told_that_the_device_needs_a_reset() {
    let (ram, interrupt) = (ram(), interrupt());
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    mock.avail().idx().store(u16::to_le(17));
    let mut queue = active(&mock, &ram, &interrupt);

    queue.serve(|_, _| Some(0)).unwrap_err();

    assert!(interrupt.has_failed());
    assert_eq!(interrupt.status() & INTERRUPT_CONFIG, INTERRUPT_CONFIG);
    assert!(interrupt.event().read().unwrap() > 0);
}

#[test]
fn queue_whose_rings_lie_over_each_other_ends_with_an_error_and_not_never() {
    let ram = ram();
    let interrupt = interrupt();
    // The flags of the used ring, which the device writes, are the index of the available ring, which it reads.
    let setup = QueueSetup { available: 0x2002, used: 0x2004, ..GOOD };
    let queue = setup.build(&ram, 16, false).unwrap().unwrap();
    let mut queue = ActiveQueue::new(queue, ram, interrupt.clone());

    let served = queue.serve(|_, _| Some(0));

    assert!(matches!(served, Err(QueueError::Vanished)), "{served:?}");
    assert!(interrupt.has_failed());
}

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::Vsock;
use super::packet::{Header, Op};
use crate::memory::{self, GuestRam};
use crate::virtio::device::{Activation, Interrupt, VirtioDevice};
use crate::{Error, VsockConfig};

const RECEIVE_BUFFERS: u64 = 0x10_0000;
const TRANSMIT_BUFFERS: u64 = 0x20_0000;

fn request() -> Header {
    Header {
        src_cid: 3,
        dst_cid: 2,
        src_port: 40_000,
        dst_port: 1024,
        len: 0,
        kind: 1,
        op: Some(Op::Request),
        flags: 0,
        buf_alloc: 65536,
        fwd_cnt: 0,
    }
}

fn device(offers: Vec<(u32, UnixStream)>) -> Vsock {
    Vsock::new(VsockConfig { guest_cid: 3, guest_to_host: offers, host_to_guest: None }).unwrap()
}

fn start(device: &mut Vsock, ram: &GuestRam, queues: &[&MockSplitQueue<GuestRam>]) {
    device
        .activate(Activation {
            ram: ram.clone(),
            queues: queues.iter().map(|mock| Some(mock.create_queue().unwrap())).collect(),
            features: 0,
            interrupt: Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap())),
            kicks: Arc::new([]),
        })
        .unwrap();
}

fn offer_receive_buffers(mock: &MockSplitQueue<GuestRam>, count: u64) {
    let buffers: Vec<_> = (0..count)
        .map(|index| Descriptor::new(RECEIVE_BUFFERS + index * 0x1000, 0x1000, VRING_DESC_F_WRITE as u16, 0))
        .map(RawDescriptor::from)
        .collect();
    mock.build_multiple_desc_chains(&buffers).unwrap();
}

fn transmit(ram: &GuestRam, mock: &MockSplitQueue<GuestRam>, packets: &[Vec<u8>]) {
    let mut buffers = Vec::new();
    for (index, packet) in (0u64..).zip(packets) {
        let address = TRANSMIT_BUFFERS + index * 0x1000;
        ram.write_slice(packet, GuestAddress(address)).unwrap();
        buffers.push(RawDescriptor::from(Descriptor::new(address, packet.len() as u32, 0, 0)));
    }
    mock.build_multiple_desc_chains(&buffers).unwrap();
}

/// Puts a data packet behind the request that is in the queue already.
fn queue_data(ram: &GuestRam, mock: &MockSplitQueue<GuestRam>, bytes: &[u8]) {
    let mut packet = Header { op: Some(Op::Data), len: bytes.len() as u32, ..request() }.encode().to_vec();
    packet.extend_from_slice(bytes);
    ram.write_slice(&packet, GuestAddress(0x30_0000)).unwrap();
    let buffer = RawDescriptor::from(Descriptor::new(0x30_0000, packet.len() as u32, 0, 0));
    mock.desc_table().store(1, buffer).unwrap();
    mock.avail().ring().ref_at(1).unwrap().store(u16::to_le(1));
    mock.avail().idx().store(u16::to_le(2));
}

fn received(ram: &GuestRam, mock: &MockSplitQueue<GuestRam>) -> Vec<Header> {
    (0..u64::from(u16::from_le(mock.used().idx().load())))
        .map(|index| {
            let mut header = [0; 44];
            ram.read_slice(&mut header, GuestAddress(RECEIVE_BUFFERS + index * 0x1000)).unwrap();
            Header::decode(&header)
        })
        .collect()
}

#[test]
fn guest_connects_and_its_data_arrives() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ram = memory::create(32).unwrap();
    let receive = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let send = MockSplitQueue::create(&ram, GuestAddress(0x4000), 16);
    offer_receive_buffers(&receive, 4);
    let mut vsock = device(vec![(1024, ours)]);
    start(&mut vsock, &ram, &[&receive, &send]);

    transmit(&ram, &send, &[request().encode().to_vec()]);
    vsock.notified(1);
    assert_eq!(
        received(&ram, &receive).iter().map(|header| header.op).collect::<Vec<_>>(),
        [Some(Op::Response)]
    );
    queue_data(&ram, &send, b"hello");
    vsock.notified(1);

    let mut bytes = [0; 5];
    theirs.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn packet_that_is_still_queued_when_the_guest_resets_the_device_is_delivered() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ram = memory::create(32).unwrap();
    let receive = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let send = MockSplitQueue::create(&ram, GuestAddress(0x4000), 16);
    offer_receive_buffers(&receive, 4);
    let mut vsock = device(vec![(1024, ours)]);
    start(&mut vsock, &ram, &[&receive, &send]);
    transmit(&ram, &send, &[request().encode().to_vec()]);
    vsock.notified(1);

    queue_data(&ram, &send, b"last words");
    vsock.reset();

    let mut text = String::new();
    theirs.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
}

#[test]
fn malformed_packets_are_returned_and_the_next_one_is_served() {
    let ram = memory::create(32).unwrap();
    let receive = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let send = MockSplitQueue::create(&ram, GuestAddress(0x4000), 16);
    offer_receive_buffers(&receive, 4);
    let mut vsock = device(Vec::new());
    start(&mut vsock, &ram, &[&receive, &send]);

    transmit(&ram, &send, &[vec![0xff; 10], vec![0xff; 44], request().encode().to_vec()]);
    vsock.notified(1);

    assert_eq!(u16::from_le(send.used().idx().load()), 3);
    assert_eq!(received(&ram, &receive).last().unwrap().op, Some(Op::Reset));
}

#[test]
fn queue_corrupted_by_the_guest_stops_the_device_only() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ram = memory::create(32).unwrap();
    let receive = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let send = MockSplitQueue::create(&ram, GuestAddress(0x4000), 16);
    offer_receive_buffers(&receive, 4);
    let mut vsock = device(vec![(1024, ours)]);
    start(&mut vsock, &ram, &[&receive, &send]);
    transmit(&ram, &send, &[request().encode().to_vec()]);
    vsock.notified(1);

    send.avail().idx().store(u16::to_le(1000));
    vsock.notified(1);

    assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
    vsock.notified(0);
}

#[test]
fn reserved_context_ids_are_refused() {
    for guest_cid in [0, 1, 2, u32::MAX] {
        let config = VsockConfig { guest_cid, guest_to_host: Vec::new(), host_to_guest: None };

        assert!(matches!(Vsock::new(config).err().unwrap(), Error::Config(_)));
    }
}

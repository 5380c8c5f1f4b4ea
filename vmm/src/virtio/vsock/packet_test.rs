use virtio_bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueOwnedT};
use vm_memory::{Bytes, GuestAddress, VolatileMemory};

use super::packet::{Header, MAX_PAYLOAD_BYTES, Op, PacketError, Slot, read};
use crate::memory::{self, GuestRam};

fn header(len: u32) -> Header {
    Header {
        src_cid: 3,
        dst_cid: 2,
        src_port: 1000,
        dst_port: 1024,
        len,
        kind: 1,
        op: Some(Op::Data),
        flags: 0,
        buf_alloc: 4096,
        fwd_cnt: 7,
    }
}

/// Reads a packet that lies in buffers of these sizes, one after the other from 1 MiB on.
fn read_from(ram: &GuestRam, sizes: &[u32]) -> Result<(Header, Vec<u8>), PacketError> {
    let mock = MockSplitQueue::create(ram, GuestAddress(0x1000), 16);
    let mut address = 0x10_0000;
    let descriptors: Vec<_> = sizes
        .iter()
        .map(|size| {
            let descriptor = RawDescriptor::from(Descriptor::new(address, *size, 0, 0));
            address += u64::from(*size);
            descriptor
        })
        .collect();
    mock.build_desc_chain(&descriptors).unwrap();
    let mut queue: Queue = mock.create_queue().unwrap();
    let chain = queue.iter(ram).unwrap().next().unwrap();
    let (header, payload) = read(ram, chain)?;
    let mut bytes = Vec::new();
    for slice in payload.slices() {
        let mut piece = vec![0; slice.len()];
        slice.copy_to(&mut piece);
        bytes.extend(piece);
    }
    assert_eq!(payload.len(), bytes.len());
    Ok((header, bytes))
}

#[test]
fn header_survives_encoding() {
    let header = header(9);

    assert_eq!(Header::decode(&header.encode()), header);
}

#[test]
fn packet_is_read_however_its_bytes_are_spread_over_buffers() {
    let ram = memory::create(32).unwrap();
    ram.write_slice(&header(5).encode(), GuestAddress(0x10_0000)).unwrap();
    ram.write_slice(b"hello", GuestAddress(0x10_0000 + 44)).unwrap();

    for sizes in [&[49][..], &[44, 5], &[44, 2, 3], &[20, 24, 1, 4], &[46, 3], &[44, 100]] {
        let (read, bytes) = read_from(&ram, sizes).unwrap();

        assert_eq!((read, bytes.as_slice()), (header(5), &b"hello"[..]), "{sizes:?}");
    }
}

#[test]
fn packet_shorter_than_its_header_says_is_refused() {
    let ram = memory::create(32).unwrap();
    ram.write_slice(&header(5).encode(), GuestAddress(0x10_0000)).unwrap();

    for sizes in [&[44][..], &[44, 4], &[43], &[10, 10]] {
        assert!(matches!(read_from(&ram, sizes), Err(PacketError::Truncated)), "{sizes:?}");
    }
}

#[test]
fn payload_above_the_limit_is_refused_before_it_is_read() {
    let ram = memory::create(32).unwrap();
    for length in [MAX_PAYLOAD_BYTES + 1, u32::MAX] {
        ram.write_slice(&header(length).encode(), GuestAddress(0x10_0000)).unwrap();

        assert!(matches!(read_from(&ram, &[44, 1 << 20]), Err(PacketError::TooLong(_))));
    }
}

#[test]
fn packet_outside_of_memory_is_refused() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let descriptor = Descriptor::new(u64::MAX - 20, 44, 0, 0);
    mock.build_desc_chain(&[RawDescriptor::from(descriptor)]).unwrap();
    let mut queue: Queue = mock.create_queue().unwrap();
    let chain = queue.iter(&ram).unwrap().next().unwrap();

    assert!(matches!(read(&ram, chain), Err(PacketError::Memory(_))));
}

#[test]
fn received_packet_has_its_header_in_front_of_the_data() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let buffer = Descriptor::new(0x10_0000, 100, VRING_DESC_F_WRITE as u16, 0);
    mock.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();
    let mut queue: Queue = mock.create_queue().unwrap();
    let mut slot = Slot::new(&ram, queue.iter(&ram).unwrap().next().unwrap()).unwrap();

    let payload = slot.payload().unwrap();
    assert_eq!(payload.len(), 56);
    payload.as_volatile_slice().copy_from(b"hello");
    let length = slot.finish(&header(5));

    assert_eq!(length, 49);
    let mut bytes = [0; 49];
    ram.read_slice(&mut bytes, GuestAddress(0x10_0000)).unwrap();
    assert_eq!(bytes[..44], header(5).encode());
    assert_eq!(&bytes[44..], b"hello");
}

#[test]
fn receive_buffer_too_small_for_a_header_is_refused() {
    let ram = memory::create(32).unwrap();
    let mock = MockSplitQueue::create(&ram, GuestAddress(0x1000), 16);
    let buffer = Descriptor::new(0x10_0000, 43, VRING_DESC_F_WRITE as u16, 0);
    mock.build_desc_chain(&[RawDescriptor::from(buffer)]).unwrap();
    let mut queue: Queue = mock.create_queue().unwrap();

    assert!(Slot::new(&ram, queue.iter(&ram).unwrap().next().unwrap()).is_err());
}

//! A driver that means harm, or is broken: counted, dropped, and the card goes on.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::header::{HEADER_BYTES, MAX_FRAME_BYTES};
use crate::NetLimits;
use crate::fuzzing::NetDriver;
use crate::virtio::device::VirtioDevice;

const RX: usize = 0;
const TX: usize = 1;
const MERGE: u64 = 1 << 15;
const CSUM: u64 = 1;
const HOST_TSO4: u64 = 1 << 11;
const BUFFERS: u64 = 0x10_0000;
const RAM_END: u64 = 4 << 20;
/// Flags, type, length of headers, size of parts, start and offset of the checksum.
type Fields = (u8, u8, u16, u16, u16, u16);

fn driver(features: u64) -> NetDriver {
    let mut driver = NetDriver::new(1, NetLimits::default()).unwrap();
    driver.activate(features).unwrap();
    driver
}

fn header((flags, kind, headers, size, start, offset): Fields) -> Vec<u8> {
    let mut bytes = vec![flags, kind];
    for field in [headers, size, start, offset, 0] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes
}

/// The start of a frame of TCP over IPv4.
const TCP4: [u8; 24] = [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6];

/// Sends a frame of this size behind this header.
fn send(driver: &mut NetDriver, fields: Fields, frame_bytes: usize) {
    let mut frame: Vec<u8> = TCP4.into_iter().chain(std::iter::repeat(7)).take(frame_bytes).collect();
    frame.splice(0..0, header(fields));
    driver.ram.write_slice(&frame, GuestAddress(BUFFERS)).unwrap();
    driver.add(TX, &[(BUFFERS, frame.len() as u32, false)]);
    driver.notify(TX);
}

/// A frame that nothing is wrong with passes.
fn assert_sends(driver: &mut NetDriver) {
    send(driver, (0, 0, 0, 0, 0, 0), 60);
    assert_eq!(driver.sent(0).map(|packet| packet.len()), Some(HEADER_BYTES + 60));
}

#[test]
fn oversized_offload_headers_are_dropped_and_the_next_frame_is_sent() {
    let mut driver = driver(CSUM | HOST_TSO4);
    let bad = [
        // No size of parts; parts without checksums.
        (1, 1, 54, 0, 34, 16),
        (0, 1, 54, 1448, 0, 0),
        // Headers or checksum beyond the frame, or in front of the packet.
        (1, 1, 1001, 1448, 34, 16),
        (0, 0, u16::MAX, 0, 0, 0),
        (1, 0, 0, 0, 999, 16),
        (1, 0, 0, 0, 34, 965),
        (1, 0, 0, 0, u16::MAX, u16::MAX),
        (1, 0, 0, 0, 0, 16),
        // Over the address of the sender, a port, or something that only looks like TCP's.
        (1, 0, 0, 0, 14, 12),
        (1, 0, 0, 0, 20, 6),
        (1, 0, 0, 0, 34, 2),
        (1, 0, 0, 0, 38, 12),
        // Of kinds that were not agreed on, or do not exist.
        (1, 4, 54, 1448, 34, 16),
        (1, 5, 54, 1448, 34, 16),
        (1, 3, 54, 1448, 34, 16),
        (1, 0x81, 54, 1448, 34, 16),
        (1, 0x80, 54, 1448, 34, 16),
        (1, 0xff, 54, 1448, 34, 16),
    ];
    for fields in bad {
        send(&mut driver, fields, 1000);

        assert_eq!(driver.sent(0), None, "{fields:?}");
    }

    assert_eq!(driver.used(TX).len(), bad.len());
    assert_eq!(driver.device.counters().transmit_bad_header.get(), bad.len() as u64);
    assert_sends(&mut driver);
}

#[test]
fn checksums_that_were_not_agreed_on_are_dropped() {
    let mut driver = driver(0);

    send(&mut driver, (1, 0, 0, 0, 34, 16), 1000);

    assert_eq!(driver.sent(0), None);
    assert_sends(&mut driver);
}

#[test]
fn header_that_changes_after_it_was_checked_does_not_reach_the_host() {
    let mut driver = driver(CSUM);

    send(&mut driver, (1 | 0xf0, 0, 0, 0, 34, 16), 1000);

    // What arrives is what was checked: flags without a meaning are gone, and so is a count of buffers.
    assert_eq!(driver.sent(0).unwrap()[..HEADER_BYTES], header((1, 0, 0, 0, 34, 16)));
}

#[test]
fn giant_and_tiny_frames_are_dropped() {
    let mut driver = driver(0);
    let sizes = [0, 1, 11, 12, 25, HEADER_BYTES + MAX_FRAME_BYTES + 1, 1 << 20, 3 << 20];
    for bytes in sizes {
        driver.add(TX, &[(BUFFERS, bytes as u32, false)]);
        driver.notify(TX);
    }

    assert_eq!(driver.sent(0), None);
    assert_eq!(driver.used(TX).len(), sizes.len());
    assert_eq!(driver.device.counters().transmit_malformed.get(), sizes.len() as u64);
    assert_sends(&mut driver);
}

#[test]
fn buffers_that_are_not_memory_are_given_back_untouched() {
    let mut driver = driver(MERGE);
    let places = [RAM_END, RAM_END - 16, u64::MAX - 100, 1 << 40, 0xd000_0000];
    for address in places {
        driver.add(TX, &[(BUFFERS, 12, false), (address, 1500, false)]);
        driver.add(RX, &[(BUFFERS, 12, true), (address, 1500, true)]);
    }
    driver.notify(TX);
    driver.notify(RX);
    driver.arrive(0, &[0; 100]);
    driver.device.outside_event(0);

    let given_back = |queue| driver.used(queue).iter().filter(|(_, bytes)| *bytes == 0).count();
    assert_eq!([given_back(TX), given_back(RX)], [places.len(); 2]);
    assert_eq!(driver.device.counters().receive_malformed.get(), places.len() as u64);
    assert_eq!(driver.sent(0), None);
    assert_sends(&mut driver);
}

#[test]
fn buffers_of_the_wrong_direction_are_given_back() {
    let mut driver = driver(MERGE);

    driver.add(TX, &[(BUFFERS, 12, false), (BUFFERS, 60, true)]);
    driver.add(RX, &[(BUFFERS, 2048, false)]);
    driver.notify(TX);
    driver.notify(RX);

    assert_eq!([driver.used(TX).len(), driver.used(RX).len()], [1, 1]);
    assert_sends(&mut driver);
}

#[test]
fn chain_that_leads_in_a_circle_ends() {
    let mut driver = driver(MERGE);
    for queue in [RX, TX] {
        driver.add(queue, &[(BUFFERS, 100, queue == RX), (BUFFERS, 100, queue == RX)]);
        // The second descriptor leads back to the first one.
        let table = 0x1_0000 + queue as u64 * 0x4000;
        driver.ram.write_obj(1u16 | if queue == RX { 2 } else { 0 }, GuestAddress(table + 16 + 12)).unwrap();
        driver.ram.write_obj(0u16, GuestAddress(table + 16 + 14)).unwrap();
    }

    driver.notify(TX);
    driver.arrive(0, &[0; 100]);
    driver.device.outside_event(0);

    // A circle is as long as the queue: a frame of 25,600 bytes, and a buffer of as many.
    assert_eq!(driver.used(TX), [(0, 0)]);
    assert_eq!(driver.used(RX), [(0, 100)]);
}

#[test]
fn receive_buffers_of_a_byte_each_do_not_hold_a_frame_up() {
    let mut driver = driver(MERGE);
    let pieces: Vec<_> = (0..16).map(|byte| (BUFFERS + byte, 1, true)).collect();
    for _ in 0..16 {
        driver.add(RX, &pieces);
    }
    driver.notify(RX);

    driver.arrive(0, &[0; 2000]);
    driver.device.outside_event(0);
    driver.arrive(0, &[0; 12 + 60]);
    driver.device.outside_event(0);

    assert_eq!(driver.device.counters().receive_oversized.get(), 1);
    assert_eq!(driver.used(RX).iter().map(|(_, bytes)| bytes).sum::<u32>(), 72);
}

#[test]
fn driver_with_fewer_buffers_than_a_frame_takes_loses_that_frame_only() {
    let mut driver = driver(MERGE);
    for index in 0..256 {
        driver.add(RX, &[(BUFFERS + index * 128, 128, true)]);
    }
    driver.notify(RX);

    driver.arrive(0, &vec![0; 60_000]);
    driver.arrive(0, &[0; 112]);
    driver.device.outside_event(0);

    assert_eq!(driver.device.counters().receive_oversized.get(), 1);
    assert_eq!(driver.used(RX), [(0, 112)]);
}

#[test]
fn broken_available_index_stops_one_queue_until_the_reset() {
    let mut driver = driver(MERGE);
    driver.set_available(TX, 1000);
    driver.notify(TX);
    assert!(driver.interrupt.has_failed());

    driver.add(RX, &[(BUFFERS, 2048, true)]);
    driver.notify(RX);
    driver.arrive(0, &[0; 100]);
    driver.device.outside_event(0);
    assert_eq!(driver.used(RX).len(), 1);

    driver.device.reset();
    driver.interrupt.reset();
    driver.activate(MERGE).unwrap();
    assert_sends(&mut driver);
}

#[test]
fn flood_of_frames_does_not_keep_the_device() {
    let mut driver = driver(0);
    let frame = [0; 72];
    driver.ram.write_slice(&frame, GuestAddress(BUFFERS)).unwrap();
    for _ in 0..256 {
        driver.add(TX, &[(BUFFERS, 72, false)]);
    }

    driver.device.notified(TX);

    // The rest has its turn after others had theirs.
    assert!(driver.used(TX).len() < 256);
    assert!(driver.kicks[TX].read().is_ok());
}

#[test]
fn reset_in_flight_leaves_memory_alone_and_the_card_usable() {
    let mut driver = driver(MERGE);
    driver.add(RX, &[(BUFFERS, 2048, true)]);
    driver.notify(RX);
    // A frame that waits for more buffers.
    driver.arrive(0, &[1; 5000]);
    driver.device.outside_event(0);
    driver.device.reset();
    driver.ram.write_slice(&[9; 8192], GuestAddress(BUFFERS)).unwrap();

    driver.arrive(0, &[2; 100]);
    driver.device.outside_event(0);
    (0..4).for_each(|queue| driver.device.notified(queue));

    let mut memory = [0; 8192];
    driver.ram.read_slice(&mut memory, GuestAddress(BUFFERS)).unwrap();
    assert!(memory.iter().all(|byte| *byte == 9));
    driver.activate(MERGE).unwrap();
    assert_sends(&mut driver);
}

#[test]
fn notifications_at_odd_times_and_of_odd_queues_mean_nothing() {
    let mut driver = NetDriver::new(2, NetLimits::default()).unwrap();
    for queue in [0, 1, 4, 5, 99, usize::MAX] {
        driver.device.notified(queue);
        driver.device.outside_event(queue);
    }
    driver.device.reset();
    driver.device.finish();

    driver.activate(MERGE).unwrap();
    for queue in [2, 3, 4, 5, 99, usize::MAX] {
        driver.device.notified(queue);
        driver.device.outside_event(queue);
    }

    assert_sends(&mut driver);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_header_is_sent_as_checked_or_dropped(fields: Fields, frame in 0usize..3000, features: u64) {
        let mut driver = driver(features & (CSUM | HOST_TSO4 | 1 << 12 | 1 << 13 | 1 << 56));

        send(&mut driver, fields, frame);

        let counters = driver.device.counters();
        let dropped = counters.transmit_bad_header.get() + counters.transmit_malformed.get();
        prop_assert_eq!(driver.used(TX).len(), 1);
        prop_assert_eq!(u64::from(driver.sent(0).is_some()) + dropped, 1);
    }

    #[test]
    fn any_acts_of_a_driver_leave_the_card_usable(
        acts in proptest::collection::vec(any::<[u8; 8]>(), 0..60),
        features: u64,
    ) {
        crate::fuzzing::net(&[&features.to_le_bytes()[..], &acts.concat()].concat());
    }

    #[test]
    fn any_frame_arrives_whole_in_any_buffers(
        frame in 1usize..20_000,
        buffers in proptest::collection::vec(12u32..4000, 1..40),
    ) {
        let mut driver = driver(MERGE);
        let frame: Vec<u8> = (0..12 + frame).map(|index| (index % 251) as u8).collect();
        let mut at = BUFFERS;
        for bytes in &buffers {
            driver.add(RX, &[(at, *bytes, true)]);
            at += u64::from(*bytes);
        }
        driver.notify(RX);

        driver.arrive(0, &frame);
        driver.device.outside_event(0);

        let room: u32 = buffers.iter().sum();
        let used = driver.used(RX);
        if room as usize >= frame.len() {
            let mut data = vec![0; frame.len()];
            driver.ram.read_slice(&mut data, GuestAddress(BUFFERS)).unwrap();
            prop_assert_eq!(&data[12..], &frame[12..]);
            prop_assert_eq!(usize::from(u16::from_le_bytes([data[10], data[11]])), used.len());
            prop_assert_eq!(used.iter().map(|(_, bytes)| bytes).sum::<u32>() as usize, frame.len());
        } else {
            prop_assert!(used.is_empty());
        }
    }
}

use vm_memory::{Bytes, GuestAddress};

use super::header::{HEADER_BYTES, MAX_FRAME_BYTES};
use crate::fuzzing::NetDriver;
use crate::virtio::device::{FEATURE_EVENT_IDX, INTERRUPT_QUEUE, VirtioDevice};
use crate::virtio::net::Net;
use crate::{NetConfig, NetLimit, NetLimits, Rate};

const RX: usize = 0;
const TX: usize = 1;
const CONTROL: usize = 4;
const MERGE: u64 = 1 << 15;
const SEVERAL: u64 = 1 << 22 | 1 << 17;
const BUFFERS: u64 = 0x10_0000;

fn driver(features: u64) -> NetDriver {
    let mut driver = NetDriver::new(1, NetLimits::default()).unwrap();
    driver.activate(features).unwrap();
    driver
}

fn frame(bytes: usize) -> Vec<u8> {
    let payload = (0..bytes).map(|index| (index % 251) as u8);
    [0; HEADER_BYTES].into_iter().chain(payload).collect()
}

/// Adds buffers of this size to the receive queue, one behind the other in memory.
fn add_receive_buffers(driver: &mut NetDriver, count: u64, bytes: u32) {
    for index in 0..count {
        driver.add(RX, &[(BUFFERS + index * u64::from(bytes), bytes, true)]);
    }
    driver.notify(RX);
}

fn send(driver: &mut NetDriver, frame: &[u8], pieces: usize) {
    driver.ram.write_slice(frame, GuestAddress(BUFFERS)).unwrap();
    let size = frame.len().div_ceil(pieces);
    let buffers: Vec<_> = (0..pieces)
        .map(|piece| {
            let start = (piece * size).min(frame.len());
            let end = (start + size).min(frame.len());
            (BUFFERS + start as u64, (end - start) as u32, false)
        })
        .collect();
    driver.add(TX, &buffers);
    driver.notify(TX);
}

fn received(driver: &NetDriver, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    driver.ram.read_slice(&mut data, GuestAddress(BUFFERS)).unwrap();
    data
}

#[test]
fn configuration_tells_address_link_queues_and_mtu() {
    let driver = NetDriver::new(2, NetLimits::default()).unwrap();

    assert_eq!(driver.device.config(), [2, 0, 0, 0, 0, 1, 1, 0, 2, 0, 0xdc, 5]);
    assert_eq!(driver.device.queue_sizes(), [256, 256, 256, 256, 16]);
}

#[test]
fn card_without_queues_or_with_too_many_is_refused() {
    let network = NetDriver::new(1, NetLimits::default()).unwrap().network;
    for count in [0, 9] {
        let queues = (0..count).map(|_| network[0].try_clone().unwrap()).collect();
        let config =
            NetConfig { queues, mac: [0; 6], mtu: None, limits: NetLimits::default(), vhost: Vec::new() };

        let error = Net::new(config, std::sync::Arc::new(Box::default())).err().unwrap();

        assert!(error.to_string().contains(&format!("{count} queues")), "{error}");
    }
}

#[test]
fn frame_is_sent_whole_however_its_buffers_are_cut() {
    for pieces in [1, 2, 3, 20, 200] {
        let mut driver = driver(0);

        send(&mut driver, &frame(1514), pieces);

        assert_eq!(driver.sent(0).unwrap(), frame(1514), "{pieces}");
        assert_eq!(driver.used(TX), [(0, 0)]);
    }
}

#[test]
fn largest_frame_is_sent() {
    let mut driver = driver(0);

    send(&mut driver, &frame(MAX_FRAME_BYTES), 17);

    assert_eq!(driver.sent(0).unwrap().len(), HEADER_BYTES + MAX_FRAME_BYTES);
    assert_eq!(driver.device.counters().transmitted_bytes.get(), MAX_FRAME_BYTES as u64);
}

#[test]
fn received_frame_is_in_one_buffer_with_its_count() {
    let mut driver = driver(MERGE);
    add_receive_buffers(&mut driver, 4, 2048);

    driver.arrive(0, &frame(1000));
    driver.device.outside_event(0);

    assert_eq!(driver.used(RX), [(0, 1012)]);
    let data = received(&driver, 1012);
    assert_eq!(data[10..12], [1, 0]);
    assert_eq!(data[12..], frame(1000)[12..]);
    assert_eq!(driver.interrupt.status(), INTERRUPT_QUEUE);
}

#[test]
fn large_frame_is_spread_over_buffers_that_the_driver_finds_together() {
    let mut driver = driver(MERGE | FEATURE_EVENT_IDX);
    add_receive_buffers(&mut driver, 60, 1536);

    // The second one no longer comes as a surprise.
    for round in 0u32..2 {
        driver.arrive(0, &frame(30_000));
        driver.device.outside_event(0);

        let used = driver.used(RX);
        assert_eq!(used.len() as u32, 20 * (round + 1));
        let heads: Vec<u32> = used.iter().map(|(head, _)| *head).collect();
        assert_eq!(heads, (0..20 * (round + 1)).collect::<Vec<_>>());
        assert_eq!(used.iter().skip(20 * round as usize).map(|(_, bytes)| bytes).sum::<u32>(), 30_012);
    }
    let first = received(&driver, 30_012);
    assert_eq!(first[10..12], [20, 0]);
    assert_eq!(first[12..], frame(30_000)[12..]);
    let mut second = vec![0; 30_012];
    driver.ram.read_slice(&mut second, GuestAddress(BUFFERS + 20 * 1536)).unwrap();
    assert_eq!(second[12..], frame(30_000)[12..]);
}

#[test]
fn header_may_be_spread_over_pieces() {
    let mut driver = driver(MERGE);
    let pieces = [(BUFFERS, 5, true), (BUFFERS + 5, 6, true), (BUFFERS + 11, 2000, true)];
    driver.add(RX, &pieces);

    driver.arrive(0, &frame(100));
    driver.device.outside_event(0);

    assert_eq!(driver.used(RX), [(0, 112)]);
    assert_eq!(received(&driver, 112)[10..12], [1, 0]);
}

#[test]
fn frame_waits_for_buffers_and_arrives_whole() {
    let mut driver = driver(MERGE);
    add_receive_buffers(&mut driver, 2, 1536);
    driver.arrive(0, &frame(5000));
    driver.device.outside_event(0);
    assert_eq!(driver.used(RX), []);

    for index in 2..4 {
        driver.add(RX, &[(BUFFERS + index * 1536, 1536, true)]);
    }
    driver.notify(RX);

    assert_eq!(driver.used(RX).iter().map(|(_, bytes)| bytes).sum::<u32>(), 5012);
    assert_eq!(received(&driver, 5012)[12..], frame(5000)[12..]);
    assert!(driver.device.counters().receive_stalled.get() > 0);
}

#[test]
fn frames_wait_in_the_host_while_the_guest_has_no_buffers() {
    let mut driver = driver(MERGE);
    driver.arrive(0, &frame(60));
    driver.arrive(0, &frame(61));

    driver.device.outside_event(0);
    assert_eq!(driver.device.counters().received_frames.get(), 0);
    add_receive_buffers(&mut driver, 2, 2048);

    assert_eq!(driver.used(RX), [(0, 72), (1, 73)]);
}

#[test]
fn frame_that_does_not_fit_one_buffer_is_dropped_without_merging_and_the_next_one_arrives() {
    let mut driver = driver(0);
    add_receive_buffers(&mut driver, 2, 1000);

    driver.arrive(0, &frame(2000));
    driver.arrive(0, &frame(500));
    driver.device.outside_event(0);

    assert_eq!(driver.used(RX), [(0, 512)]);
    assert_eq!(driver.device.counters().receive_oversized.get(), 1);
    assert_eq!(received(&driver, 512)[10..12], [1, 0]);
}

#[test]
fn batch_of_frames_raises_one_interrupt() {
    let mut driver = driver(MERGE);
    add_receive_buffers(&mut driver, 64, 2048);
    let _ = driver.interrupt.event().read();

    for _ in 0..50 {
        driver.arrive(0, &frame(60));
    }
    driver.device.outside_event(0);

    assert_eq!(driver.used(RX).len(), 50);
    assert_eq!(driver.interrupt.event().read().unwrap(), 1);
}

/// Has a small frame come in, and gives the card a buffer for it.
fn receive_small(driver: &mut NetDriver) {
    driver.add(RX, &[(BUFFERS + (2 << 20), 2048, true)]);
    assert!(driver.arrive(0, &frame(60)));
    driver.device.outside_event(0);
}

#[test]
fn frame_of_any_size_arrives_whole_behind_small_ones() {
    for size in [14, 256, 257, 1514, 30_000, MAX_FRAME_BYTES] {
        let mut driver = driver(MERGE);
        (0..100).for_each(|_| receive_small(&mut driver));
        add_receive_buffers(&mut driver, 50, 1536);

        driver.arrive(0, &frame(size));
        driver.device.outside_event(0);

        let used = driver.used(RX).split_off(100);
        let bytes = size + HEADER_BYTES;
        assert_eq!(used.len(), bytes.div_ceil(1536), "{size}");
        assert_eq!(used.iter().map(|(_, bytes)| *bytes as usize).sum::<usize>(), bytes);
        let data = received(&driver, bytes);
        assert_eq!(data[10..12], (used.len() as u16).to_le_bytes());
        assert!(data[12..] == frame(size)[12..], "{size}");
    }
}

#[test]
fn nobody_waits_for_frames_that_only_come_until_the_guest_sends_too() {
    let mut driver = driver(MERGE);
    assert!(!driver.device.is_unhurried());

    // A busy host takes its time now and then.
    for _ in 0..100 {
        (0..256).for_each(|_| receive_small(&mut driver));
        if driver.device.is_unhurried() {
            break;
        }
    }
    assert!(driver.device.is_unhurried());
    (0..9).for_each(|_| send(&mut driver, &frame(60), 1));

    assert!(!driver.device.is_unhurried());
}

#[test]
fn driver_that_waits_for_a_later_buffer_is_not_interrupted_before() {
    let mut driver = driver(MERGE | FEATURE_EVENT_IDX);
    add_receive_buffers(&mut driver, 8, 2048);
    // used_event of the receive queue: behind the available ring.
    let used_event = GuestAddress(0x1_0000 + 0x1000 + 4 + 2 * 256);
    driver.ram.write_obj(3u16, used_event).unwrap();
    let _ = driver.interrupt.event().read();

    let mut interrupts = Vec::new();
    for _ in 0..6 {
        driver.arrive(0, &frame(60));
        driver.device.outside_event(0);
        interrupts.push(driver.interrupt.event().read().is_ok());
    }

    assert_eq!(interrupts, [false, false, false, true, false, false]);
}

#[test]
fn sending_pauses_while_the_host_takes_nothing_and_loses_nothing() {
    let mut driver = driver(0);
    let large = frame(60_000);
    driver.ram.write_slice(&large, GuestAddress(BUFFERS)).unwrap();
    for _ in 0..20 {
        driver.add(TX, &[(BUFFERS, large.len() as u32, false)]);
    }
    driver.notify(TX);
    let before = driver.used(TX).len();
    assert!(before < 20);

    let mut sent = 0;
    while driver.sent(0).is_some() {
        sent += 1;
        driver.device.outside_event(0);
    }

    assert_eq!(sent, 20);
    assert_eq!(driver.used(TX).len(), 20);
}

#[test]
fn limit_holds_frames_back_and_the_timer_lets_them_go_on() {
    let rate = |per_second: u64, burst: u64| {
        Some(Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() })
    };
    let transmit = NetLimit { bytes: None, packets: rate(1000, 3) };
    let mut driver = NetDriver::new(1, NetLimits { transmit, ..Default::default() }).unwrap();
    driver.activate(0).unwrap();
    driver.ram.write_slice(&frame(60), GuestAddress(BUFFERS)).unwrap();
    for _ in 0..5 {
        driver.add(TX, &[(BUFFERS, 72, false)]);
    }
    driver.notify(TX);
    assert!(driver.used(TX).len() < 5);

    while driver.used(TX).len() < 5 {
        driver.device.outside_event(1);
    }

    assert!(driver.device.counters().transmit_throttled.get() > 0);
}

#[test]
fn queues_beyond_the_first_pair_are_used_once_the_driver_says_so() {
    let mut driver = NetDriver::new(2, NetLimits::default()).unwrap();
    driver.activate(MERGE | SEVERAL).unwrap();
    driver.add(2, &[(BUFFERS, 2048, true)]);
    driver.arrive(1, &frame(60));
    driver.device.outside_event(1);
    assert_eq!(driver.used(2), []);

    let answer = command(&mut driver, &[4, 0, 2, 0]);

    assert_eq!(answer, 0);
    assert_eq!(driver.used(2), [(0, 72)]);
}

#[test]
fn impossible_commands_are_refused() {
    let mut driver = NetDriver::new(2, NetLimits::default()).unwrap();
    driver.activate(MERGE | SEVERAL).unwrap();

    for bytes in [&[4, 0, 0, 0][..], &[4, 0, 3, 0], &[4, 0, 1], &[4, 1, 1, 0], &[9, 9], &[], &[5; 64]] {
        assert_eq!(command(&mut driver, bytes), 1, "{bytes:?}");
    }
    assert_eq!(driver.device.counters().control_refused.get(), 7);
}

/// Sends a command and returns the answer.
fn command(driver: &mut NetDriver, bytes: &[u8]) -> u8 {
    let at = BUFFERS + 0x8000;
    driver.ram.write_slice(bytes, GuestAddress(at)).unwrap();
    driver.ram.write_obj(0xffu8, GuestAddress(at + 0x100)).unwrap();
    driver.add(CONTROL, &[(at, bytes.len() as u32, false), (at + 0x100, 1, true)]);
    driver.notify(CONTROL);
    driver.ram.read_obj(GuestAddress(at + 0x100)).unwrap()
}

#[test]
fn machine_that_has_stopped_sends_what_is_left() {
    let mut driver = driver(0);
    driver.ram.write_slice(&frame(60), GuestAddress(BUFFERS)).unwrap();
    driver.add(TX, &[(BUFFERS, 72, false)]);

    driver.device.finish();

    assert_eq!(driver.sent(0).unwrap(), frame(60));
}

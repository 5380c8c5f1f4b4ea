//! That nobody waits for ever: a guest and a host program that move bytes both ways, each only when it is told that it can.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vm_memory::VolatileSlice;

use super::multiplexer::Multiplexer;
use super::packet::{Header, Op, Payload};

const GUEST_BUFFER: u32 = 64 * 1024;

/// A receive buffer of Linux's driver, without the header.
const PACKET_BYTES: usize = 4000;

struct World {
    device: Multiplexer,
    host: UnixStream,
    /// What the guest was told of the host's buffer, and what it has put there.
    host_buffer: u32,
    host_took: u32,
    guest_sent: u32,
    /// What the guest has in its buffer, and what it has taken out of it.
    guest_holds: u32,
    guest_took: u32,
    host_read: u32,
    host_wrote: u32,
}

impl World {
    fn new() -> Self {
        let (ours, host) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        let device = Multiplexer::new(3, vec![(1024, ours)], None).unwrap();
        let (host_buffer, host_took, guest_sent) = (0, 0, 0);
        let (guest_holds, guest_took, host_read, host_wrote) = (0, 0, 0, 0);
        let mut world = Self {
            device,
            host,
            host_buffer,
            host_took,
            guest_sent,
            guest_holds,
            guest_took,
            host_read,
            host_wrote,
        };
        world.packet(Op::Request, &mut []);
        world.turn();
        world
    }

    fn packet(&mut self, op: Op, bytes: &mut [u8]) {
        let header = Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 40_000,
            dst_port: 1024,
            len: bytes.len() as u32,
            kind: 1,
            op: Some(op),
            flags: 0,
            buf_alloc: GUEST_BUFFER,
            fwd_cnt: self.guest_took,
        };
        let payload =
            if bytes.is_empty() { Payload::Empty } else { Payload::Guest(VolatileSlice::from(bytes)) };
        self.device.receive_from_guest(&header, payload);
    }

    /// Sends as much as the guest knows that it may, and what the device has to say to it.
    fn guest_sends(&mut self, wanted: u32) -> bool {
        let room = self.host_buffer - (self.guest_sent - self.host_took);
        let count = wanted.min(room).min(64 * 1024);
        if count > 0 {
            self.packet(Op::Data, &mut vec![b'g'; count as usize]);
            self.guest_sent += count;
            self.deliver();
        }
        count > 0
    }

    /// Takes what is in the guest's buffer; Linux says so only if a good part of it is free again, or nothing is left in it.
    fn guest_reads(&mut self, wanted: u32) -> bool {
        let count = wanted.min(self.guest_holds);
        self.guest_holds -= count;
        self.guest_took += count;
        if count > 0 && self.guest_holds == 0 {
            self.packet(Op::CreditUpdate, &mut []);
            self.deliver();
        }
        count > 0
    }

    fn host_reads(&mut self, wanted: u32) -> bool {
        match self.host.read(&mut vec![0; wanted.max(1) as usize]) {
            Ok(count) => self.host_read += count as u32,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        true
    }

    fn host_writes(&mut self, wanted: u32) -> bool {
        match self.host.write(&vec![b'h'; wanted as usize]) {
            Ok(count) => self.host_wrote += count as u32,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        wanted > 0
    }

    /// The event loop's: nothing is looked at that did not wake it.
    fn turn(&mut self) -> bool {
        // SAFETY: the multiplexer, which owns the descriptor, lives longer than this borrow of it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.device.descriptor()) };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let woken =
            poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&at_once)).unwrap() > 0;
        if woken {
            self.device.host_events();
        }
        self.deliver();
        woken
    }

    fn deliver(&mut self) {
        while self.device.has_packet() {
            let mut buffer = vec![0; PACKET_BYTES];
            let Some(header) = self.device.send_to_guest(Some(VolatileSlice::from(&mut buffer[..]))) else {
                break;
            };
            assert!(matches!(header.op, Some(Op::Response | Op::Data | Op::CreditUpdate)), "{header:?}");
            self.host_buffer = header.buf_alloc;
            self.host_took = header.fwd_cnt;
            self.guest_holds += header.len;
            assert!(self.guest_holds <= GUEST_BUFFER);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_order_everything_arrives(
        steps in proptest::collection::vec((0..5_u8, 1..200_000_u32), 0..200),
    ) {
        const TOTAL: u32 = 3_000_000;
        let mut world = World::new();
        for (step, amount) in steps {
            match step {
                0 => drop(world.guest_sends(amount.min(TOTAL - world.guest_sent))),
                1 => drop(world.guest_reads(amount)),
                2 => drop(world.host_reads(amount)),
                3 => drop(world.host_writes(amount.min(TOTAL - world.host_wrote))),
                _ => drop(world.turn()),
            }
        }

        // From here on, everybody does what he can for as long as anybody can do something.
        loop {
            let sent = world.guest_sends(TOTAL - world.guest_sent);
            let read = world.host_reads(100_000);
            let wrote = world.host_writes(TOTAL - world.host_wrote);
            let took = world.guest_reads(GUEST_BUFFER);
            let woken = world.turn();
            if ![sent, read, wrote, took, woken].contains(&true) {
                break;
            }
        }

        prop_assert_eq!((world.guest_sent, world.host_read), (TOTAL, TOTAL));
        prop_assert_eq!((world.host_wrote, world.guest_took), (TOTAL, TOTAL));
    }
}

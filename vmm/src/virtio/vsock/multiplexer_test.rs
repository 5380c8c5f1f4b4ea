use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use vm_memory::VolatileSlice;

use super::connection::BUFFER_BYTES;
use super::multiplexer::{MAX_CONNECTIONS, MAX_PENDING_RESETS, Multiplexer};
use super::packet::{Header, Op, Payload, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

const GUEST: u64 = 3;
const GUEST_PORT: u32 = 40_000;
const HOST_PORT: u32 = 1024;
/// A guest's receive buffer, small enough to be used up.
const GUEST_BUFFER: u32 = 1000;

fn packet(op: Op) -> Header {
    Header {
        src_cid: GUEST,
        dst_cid: 2,
        src_port: GUEST_PORT,
        dst_port: HOST_PORT,
        len: 0,
        kind: 1,
        op: Some(op),
        flags: 0,
        buf_alloc: GUEST_BUFFER,
        fwd_cnt: 0,
    }
}

fn data(bytes: &[u8]) -> (Header, Payload<'static>) {
    // In two pieces, as large packets come.
    let (one, other) = bytes.to_vec().leak().split_at_mut(bytes.len() / 2);
    let pieces = vec![VolatileSlice::from(one), VolatileSlice::from(other)];
    (Header { len: bytes.len() as u32, ..packet(Op::Data) }, Payload::Scattered(pieces))
}

fn shutdown(flags: u32) -> Header {
    Header { flags, ..packet(Op::Shutdown) }
}

/// A guest's view of the multiplexer.
struct Guest(Multiplexer);

impl Guest {
    fn send(&mut self, header: Header) {
        self.0.receive_from_guest(&header, Payload::Empty);
    }

    fn send_data(&mut self, bytes: &[u8]) {
        let (header, payload) = data(bytes);
        self.0.receive_from_guest(&header, payload);
    }

    /// The next packet, with up to 4000 bytes of data.
    fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        self.0.host_events();
        let mut buffer = vec![0; 4000];
        let header = self.0.send_to_guest(Some(VolatileSlice::from(&mut buffer[..])))?;
        buffer.truncate(header.len as usize);
        Some((header, buffer))
    }

    fn receive_op(&mut self) -> Option<Op> {
        self.receive().map(|(header, _)| header.op.unwrap())
    }
}

/// A connection from the guest to port 1024, and the host program's end of it.
fn connected() -> (Guest, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut guest = Guest(Multiplexer::new(GUEST, vec![(HOST_PORT, ours)], None).unwrap());
    guest.send(packet(Op::Request));
    assert_eq!(guest.receive_op(), Some(Op::Response));
    assert_eq!(guest.receive_op(), None);
    theirs.set_nonblocking(true).unwrap();
    (guest, theirs)
}

fn read_available(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => drop(other.unwrap()),
    }
    bytes
}

#[test]
fn data_flows_both_ways() {
    let (mut guest, mut host) = connected();

    guest.send_data(b"ping");
    assert_eq!(read_available(&mut host), b"ping");
    host.write_all(b"pong").unwrap();
    let (header, bytes) = guest.receive().unwrap();

    assert_eq!((header.op, bytes.as_slice()), (Some(Op::Data), &b"pong"[..]));
    assert_eq!(
        (header.src_cid, header.dst_cid, header.src_port, header.dst_port),
        (2, GUEST, HOST_PORT, GUEST_PORT)
    );
    assert_eq!(header.fwd_cnt, 4);
}

#[test]
fn second_connection_to_a_port_is_reset() {
    let (mut guest, _host) = connected();

    guest.send(Header { src_port: GUEST_PORT + 1, ..packet(Op::Request) });

    let (header, _) = guest.receive().unwrap();
    assert_eq!((header.op, header.dst_port), (Some(Op::Reset), GUEST_PORT + 1));
}

#[test]
fn port_that_is_not_offered_is_reset() {
    let mut guest = Guest(Multiplexer::new(GUEST, Vec::new(), None).unwrap());

    guest.send(packet(Op::Request));

    assert_eq!(guest.receive_op(), Some(Op::Reset));
}

#[test]
fn packets_without_a_connection_are_reset_but_resets_are_not() {
    let mut guest = Guest(Multiplexer::new(GUEST, Vec::new(), None).unwrap());

    guest.send_data(b"x");
    assert_eq!(guest.receive_op(), Some(Op::Reset));
    guest.send(packet(Op::Reset));

    assert_eq!(guest.receive_op(), None);
}

#[test]
fn packet_in_the_name_of_another_context_is_dropped() {
    let (mut guest, mut host) = connected();

    let (header, payload) = data(b"forged");
    guest.0.receive_from_guest(&Header { src_cid: GUEST + 1, ..header }, payload);

    assert!(read_available(&mut host).is_empty());
    assert_eq!(guest.receive_op(), None);
}

#[test]
fn datagram_packet_is_reset() {
    let mut guest = Guest(Multiplexer::new(GUEST, Vec::new(), None).unwrap());

    guest.send(Header { kind: 3, ..packet(Op::Request) });

    assert_eq!(guest.receive_op(), Some(Op::Reset));
}

#[test]
fn guest_gets_no_more_than_its_buffer_holds() {
    let (mut guest, mut host) = connected();
    host.write_all(&[1; 1500]).unwrap();

    assert_eq!(guest.receive().unwrap().1.len(), GUEST_BUFFER as usize);
    assert_eq!(guest.receive_op(), None);
    guest.send(Header { fwd_cnt: 600, ..packet(Op::CreditUpdate) });

    assert_eq!(guest.receive().unwrap().1.len(), 500);
}

#[test]
fn slow_host_program_gets_everything_and_the_guest_hears_of_the_freed_buffer() {
    let (mut guest, mut host) = connected();
    let chunk = [7; 16 * 1024];
    let mut sent = 0;
    // The kernel's socket buffer fills first, then ours.
    let mut credit = u64::from(BUFFER_BYTES);
    let mut received = 0;
    while credit >= chunk.len() as u64 {
        guest.send_data(&chunk);
        sent += chunk.len() as u64;
        while let Some((header, _)) = guest.receive() {
            assert_eq!(header.op, Some(Op::CreditUpdate));
            received = u64::from(header.fwd_cnt);
        }
        credit = u64::from(BUFFER_BYTES) - (sent - received);
    }
    assert!(sent > received);

    let mut delivered = read_available(&mut host).len() as u64;
    while delivered < sent {
        guest.0.host_events();
        delivered += read_available(&mut host).len() as u64;
    }

    let (header, _) = guest.receive().unwrap();
    assert_eq!(header.op, Some(Op::CreditUpdate));
    assert_eq!(u64::from(header.fwd_cnt), sent);
}

#[test]
fn guest_that_ignores_the_limit_loses_the_connection() {
    let (mut guest, _host) = connected();

    let last = (0..64).find_map(|_| {
        guest.send_data(&[0; 60_000]);
        std::iter::from_fn(|| guest.receive_op()).find(|op| *op == Op::Reset)
    });

    assert_eq!(last, Some(Op::Reset));
    assert_eq!(guest.0.connection_count(), 0);
}

#[test]
fn guest_that_asks_for_credit_is_told() {
    let (mut guest, _host) = connected();

    guest.send(packet(Op::CreditRequest));

    let (header, _) = guest.receive().unwrap();
    assert_eq!((header.op, header.buf_alloc), (Some(Op::CreditUpdate), BUFFER_BYTES));
}

#[test]
fn host_program_that_has_sent_all_can_still_receive() {
    let (mut guest, mut host) = connected();
    host.write_all(b"last").unwrap();
    host.shutdown(Shutdown::Write).unwrap();

    assert_eq!(guest.receive().unwrap().1, b"last");
    let (header, _) = guest.receive().unwrap();
    assert_eq!((header.op, header.flags), (Some(Op::Shutdown), SHUTDOWN_SEND));
    guest.send_data(b"answer");

    assert_eq!(read_available(&mut host), b"answer");
}

#[test]
fn guest_that_has_sent_all_can_still_receive() {
    let (mut guest, mut host) = connected();

    guest.send_data(b"last");
    guest.send(shutdown(SHUTDOWN_SEND));
    let mut bytes = Vec::new();
    host.set_nonblocking(false).unwrap();
    host.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"last");
    host.write_all(b"answer").unwrap();

    assert_eq!(guest.receive().unwrap().1, b"answer");
}

#[test]
fn closing_guest_is_answered_with_a_reset() {
    let (mut guest, mut host) = connected();

    guest.send(shutdown(SHUTDOWN_BOTH));

    assert_eq!(guest.receive_op(), Some(Op::Reset));
    assert_eq!(guest.0.connection_count(), 0);
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn closing_host_program_ends_both_directions() {
    let (mut guest, host) = connected();

    drop(host);

    let mut flags = 0;
    while let Some((header, _)) = guest.receive() {
        assert_eq!(header.op, Some(Op::Shutdown));
        flags = header.flags;
    }
    assert_eq!(flags, SHUTDOWN_BOTH);
    guest.send(packet(Op::Reset));
    assert_eq!(guest.0.connection_count(), 0);
}

#[test]
fn data_for_a_host_program_that_has_gone_is_dropped_without_a_stall() {
    let (mut guest, host) = connected();
    drop(host);
    while guest.receive_op().is_some() {}

    for _ in 0..64 {
        guest.send_data(&[0; 60_000]);
        while let Some((header, _)) = guest.receive() {
            assert_eq!(header.op, Some(Op::CreditUpdate));
        }
    }

    assert_eq!(guest.0.connection_count(), 1);
}

#[test]
fn reset_by_the_guest_does_not_destroy_data_on_its_way() {
    let (mut guest, mut host) = connected();
    let sent = fill_socket(&mut guest);

    guest.send(packet(Op::Reset));
    let mut delivered = 0;
    while guest.0.connection_count() > 0 {
        delivered += read_available(&mut host).len();
        guest.0.host_events();
    }
    delivered += read_available(&mut host).len();

    assert_eq!(delivered, sent);
    assert_eq!(guest.receive_op(), None);
}

/// Sends until some of it stays in the VMM.
fn fill_socket(guest: &mut Guest) -> usize {
    let mut sent = 0;
    loop {
        guest.send_data(&[5; 10_000]);
        sent += 10_000;
        let accepted = std::iter::from_fn(|| guest.receive()).last();
        guest.send(packet(Op::CreditRequest));
        let (header, _) = guest.receive().unwrap();
        drop(accepted);
        if (header.fwd_cnt as usize) < sent {
            return sent;
        }
    }
}

#[test]
fn end_of_the_machine_delivers_what_the_guest_sent() {
    let (mut guest, mut host) = connected();
    let sent = fill_socket(&mut guest);
    host.set_nonblocking(false).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        host.read_to_end(&mut bytes).unwrap();
        bytes.len()
    });

    guest.0.finish();

    assert_eq!(reader.join().unwrap(), sent);
}

#[test]
fn resets_that_nobody_takes_hold_back_the_guest() {
    let mut guest = Guest(Multiplexer::new(GUEST, Vec::new(), None).unwrap());

    for port in 0.. {
        if !guest.0.has_room_for_reply() {
            assert_eq!(port as usize, MAX_PENDING_RESETS);
            break;
        }
        guest.send(Header { src_port: port, ..packet(Op::Request) });
    }

    while guest.receive_op() == Some(Op::Reset) {}
    assert!(guest.0.has_room_for_reply());
}

/// A multiplexer that host programs can connect to, and how they do.
fn listening() -> (Guest, tempfile_path::SocketPath) {
    let path = tempfile_path::SocketPath::new();
    let listener = UnixListener::bind(&path.0).unwrap();
    (Guest(Multiplexer::new(GUEST, Vec::new(), Some(listener)).unwrap()), path)
}

mod tempfile_path {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A path for a socket, removed at the end.
    pub struct SocketPath(pub PathBuf);

    impl SocketPath {
        pub fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            SocketPath(std::env::temp_dir().join(format!("vmm-vsock-{}-{number}", std::process::id())))
        }
    }

    impl Drop for SocketPath {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }
}

#[test]
fn host_program_reaches_a_port_of_the_guest() {
    let (mut guest, path) = listening();
    let mut host = UnixStream::connect(&path.0).unwrap();
    host.write_all(b"CONNECT 5000\nearly").unwrap();

    let (request, _) = guest.receive().unwrap();
    assert_eq!((request.op, request.dst_port), (Some(Op::Request), 5000));
    let from_5000 = Header { src_port: 5000, dst_port: request.src_port, ..packet(Op::Response) };
    guest.send(from_5000);

    assert_eq!(guest.receive().unwrap().1, b"early");
    let mut line = [0; 14];
    host.read_exact(&mut line).unwrap();
    assert_eq!(line, *format!("OK {}\n", request.src_port).as_bytes());
}

#[test]
fn host_program_whose_port_is_refused_sees_the_end() {
    let (mut guest, path) = listening();
    let mut host = UnixStream::connect(&path.0).unwrap();
    host.write_all(b"CONNECT 5000\n").unwrap();
    let (request, _) = guest.receive().unwrap();

    guest.send(Header { src_port: 5000, dst_port: request.src_port, ..packet(Op::Reset) });

    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(guest.0.connection_count(), 0);
}

#[test]
fn host_program_that_says_something_else_is_dropped() {
    for line in [&b"GET / HTTP/1.1\n"[..], b"CONNECT -1\n", b"CONNECT 4294967296\n", &[b'x'; 100], b"\n"] {
        let (mut guest, path) = listening();
        let mut host = UnixStream::connect(&path.0).unwrap();
        host.write_all(line).unwrap();

        assert_eq!(guest.receive_op(), None);

        assert_eq!(guest.0.connection_count(), 0);
    }
}

#[test]
fn number_of_connections_is_bounded_and_waiting_ones_follow() {
    let (mut guest, path) = listening();
    let mut hosts: Vec<_> = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 10 {
        hosts.push(UnixStream::connect(&path.0).unwrap());
        guest.0.host_events();
    }
    assert_eq!(guest.0.connection_count(), MAX_CONNECTIONS);

    hosts.remove(0);
    guest.0.host_events();
    guest.0.host_events();

    assert_eq!(guest.0.connection_count(), MAX_CONNECTIONS);
    hosts.truncate(MAX_CONNECTIONS - 1);
    while guest.0.connection_count() >= MAX_CONNECTIONS {
        guest.0.host_events();
    }
}

#[test]
fn guest_that_forgets_its_connections_frees_them() {
    let (mut guest, mut host) = connected();

    guest.0.forget_guest();

    assert_eq!(guest.0.connection_count(), 0);
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn deaf_guest_is_sent_no_data() {
    let (mut guest, mut host) = connected();
    guest.send(shutdown(SHUTDOWN_RECEIVE));

    host.write_all(b"anyone?").unwrap();

    assert_eq!(guest.receive_op(), None);
}

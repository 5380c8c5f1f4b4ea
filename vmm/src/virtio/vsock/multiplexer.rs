//! All connections of the socket device, by port and by readiness.
//!
//! Responsible for: which connection a packet belongs to, which one sends next, and how many there may be. Must not know:
//! queues. Follows the virtio specification 1.2, section 5.10.6; host programs connect as they do to Firecracker's
//! hybrid vsock ("CONNECT <port>\n", "OK <port>\n").

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use vm_memory::VolatileSlice;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::connection::{BUFFER_BYTES, Connection, Handshake, Phase};
use super::packet::{HOST_CID, Header, Op, Payload, SHUTDOWN_BOTH, TYPE_STREAM};
use crate::Error;

/// Each connection holds a descriptor and up to [`BUFFER_BYTES`] of memory; a pod uses a handful.
pub const MAX_CONNECTIONS: usize = 256;
/// Resets that wait for receive buffers. The guest's packets wait while there are as many.
pub const MAX_PENDING_RESETS: usize = 64;
/// Host ports for connections to the guest are taken from here on, out of the way of well-known ones.
const FIRST_HOST_PORT: u32 = 1 << 30;
const EVENTS_PER_WAIT: usize = 32;
const LISTENER: u64 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ports {
    host: u32,
    guest: u32,
}

/// All connections.
pub struct Multiplexer {
    guest_cid: u64,
    /// Watches the listener and all streams, each for edges.
    epoll: Epoll,
    listener: Option<UnixListener>,
    /// The listener has connections that were not accepted for want of room.
    listener_ready: bool,
    offers: Vec<(u32, UnixStream)>,
    connections: BTreeMap<u64, Connection>,
    ports: BTreeMap<u64, Ports>,
    by_ports: BTreeMap<Ports, u64>,
    /// Connections that may have a packet, each once.
    ready: VecDeque<u64>,
    resets: VecDeque<Ports>,
    paused: bool,
    last_id: u64,
    next_host_port: u32,
}

impl Multiplexer {
    /// A multiplexer for the guest with this context ID.
    pub fn new(
        guest_cid: u64,
        offers: Vec<(u32, UnixStream)>,
        listener: Option<UnixListener>,
    ) -> Result<Self, Error> {
        let epoll = Epoll::new().map_err(Error::os("create an epoll instance"))?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).map_err(Error::os("prepare the socket for host connections"))?;
            let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, LISTENER);
            epoll
                .ctl(ControlOperation::Add, listener.as_raw_fd(), event)
                .map_err(Error::os("watch the socket for host connections"))?;
        }
        Ok(Multiplexer {
            guest_cid,
            epoll,
            listener,
            listener_ready: false,
            offers,
            connections: BTreeMap::new(),
            ports: BTreeMap::new(),
            by_ports: BTreeMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            paused: false,
            last_id: LISTENER,
            next_host_port: FIRST_HOST_PORT,
        })
    }

    /// Readable when [`host_events`](Self::host_events) has something to do.
    pub fn descriptor(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Whether a packet from the guest can be answered, whatever it is.
    pub fn has_room_for_reply(&self) -> bool {
        self.resets.len() < MAX_PENDING_RESETS
    }

    /// The guest's packets have to wait for room.
    pub fn set_paused(&mut self) {
        self.paused = true;
    }

    /// Whether the guest's packets had to wait; clears the mark.
    pub fn take_paused(&mut self) -> bool {
        std::mem::take(&mut self.paused)
    }

    /// Takes a packet from the guest.
    pub fn receive_from_guest(&mut self, header: &Header, payload: Payload) {
        let ports = Ports { host: header.dst_port, guest: header.src_port };
        if header.src_cid != self.guest_cid {
            log::warn!("virtio-vsock: packet from context {}", header.src_cid);
            return;
        }
        let known = self.by_ports.get(&ports).copied();
        let (Some(op), TYPE_STREAM, HOST_CID) = (header.op, header.kind, header.dst_cid) else {
            log::warn!("virtio-vsock: packet that no stream socket sends: {header:?}");
            return self.refuse(ports, known);
        };
        match (known, op) {
            (None, Op::Request) => self.connect(ports, header),
            // A reset is never answered, or two sides could go on forever.
            (None, Op::Reset) => {}
            (None, _) => self.resets.push_back(ports),
            (Some(id), Op::Reset) => self.reset_by_guest(id),
            (Some(id), _) => self.on_connection(id, ports, op, header, payload),
        }
    }

    fn refuse(&mut self, ports: Ports, known: Option<u64>) {
        if let Some(id) = known {
            self.remove(id);
        }
        self.resets.push_back(ports);
    }

    fn connect(&mut self, ports: Ports, header: &Header) {
        let offer = self.offers.iter().position(|(port, _)| *port == ports.host);
        if offer.is_none() || !self.make_room() {
            self.resets.push_back(ports);
            return;
        }
        let Some((_, stream)) = offer.map(|index| self.offers.remove(index)) else { return };
        match self.insert(stream, Phase::Answering) {
            Some(id) => {
                self.assign(id, ports);
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.update_credit(header);
                }
                self.enqueue(id);
            }
            None => self.resets.push_back(ports),
        }
    }

    fn on_connection(&mut self, id: u64, ports: Ports, op: Op, header: &Header, payload: Payload) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.update_credit(header);
        let accepted = match (op, &connection.phase) {
            (Op::Response, Phase::Requested { .. }) => {
                connection.phase = Phase::Established;
                connection.confirm(ports.host).map_err(|_| ())
            }
            (Op::Data, Phase::Established) => connection.accept(payload),
            (Op::Shutdown, Phase::Established) => {
                connection.guest_shutdown(header.flags & SHUTDOWN_BOTH);
                Ok(())
            }
            (Op::CreditUpdate, _) => Ok(()),
            (Op::CreditRequest, _) => {
                connection.request_credit();
                Ok(())
            }
            _ => Err(()),
        };
        if accepted.is_err() {
            log::warn!("virtio-vsock: port {} breaks the rules with {op:?}", ports.guest);
            return self.refuse(ports, Some(id));
        }
        self.settle(id);
    }

    /// A reset that crosses data which the host program has not taken yet must not destroy that data.
    fn reset_by_guest(&mut self, id: u64) {
        self.unassign(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.guest_gone();
        }
        self.settle(id);
    }

    /// Ends the connection if it is over, else lets it send what it has to.
    fn settle(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let waits = connection.waits_for_room();
        if std::mem::replace(&mut connection.is_watched_for_room, waits) != waits {
            let descriptor = connection.stream().as_raw_fd();
            if let Err(error) = self.epoll.ctl(ControlOperation::Modify, descriptor, stream_events(id, waits))
            {
                log::error!("virtio-vsock: cannot watch a stream for room: {error}");
            }
        }
        if connection.is_over() {
            // A guest that has ended both directions waits for a reset as the last word.
            if let Some(ports) = self.ports.get(&id).copied() {
                self.resets.push_back(ports);
            }
            self.remove(id);
        } else {
            self.enqueue(id);
        }
    }

    fn enqueue(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.queued
            && connection.has_packet()
        {
            connection.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Whether [`send_to_guest`](Self::send_to_guest) may have a packet.
    pub fn has_packet(&self) -> bool {
        !self.ready.is_empty() || !self.resets.is_empty()
    }

    /// The next packet for the guest; data goes to `payload`. Connections take turns, packet by packet.
    pub fn send_to_guest(&mut self, payload: Option<VolatileSlice<()>>) -> Option<Header> {
        if let Some(ports) = self.resets.pop_front() {
            return Some(self.header(ports, Op::Reset, 0, 0, (0, 0)));
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.queued = false;
            let Some(ports) = self.ports.get(&id).copied() else { continue };
            let Some(packet) = connection.next_packet(payload) else { continue };
            let credit = connection.announce_credit();
            self.enqueue(id);
            return Some(self.header(ports, packet.op, packet.flags, packet.len, credit));
        }
        None
    }

    fn header(&self, ports: Ports, op: Op, flags: u32, len: u32, credit: (u32, u32)) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.guest_cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len,
            kind: TYPE_STREAM,
            op: Some(op),
            flags,
            buf_alloc: credit.0,
            fwd_cnt: credit.1,
        }
    }

    /// Takes note of what happened on the host's side. Never blocks.
    pub fn host_events(&mut self) {
        let mut events = [EpollEvent::default(); EVENTS_PER_WAIT];
        // What does not fit into one wait keeps the descriptor readable.
        let count = match self.epoll.wait(0, &mut events) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            Err(error) => return log::error!("virtio-vsock: cannot wait for host events: {error}"),
        };
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => {
                    self.listener_ready = true;
                    self.accept();
                }
                id => self.stream_event(id, event.event_set()),
            }
        }
    }

    fn stream_event(&mut self, id: u64, set: EventSet) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if set.intersects(EventSet::IN | EventSet::READ_HANG_UP) {
            connection.set_readable();
        }
        if set.intersects(EventSet::HANG_UP | EventSet::ERROR) {
            connection.set_hung_up();
        } else if set.contains(EventSet::OUT) {
            connection.flush();
        }
        if matches!(connection.phase, Phase::Handshake(_)) {
            self.continue_handshake(id);
            self.accept();
        } else {
            self.settle(id);
        }
    }

    fn accept(&mut self) {
        while self.listener_ready && self.make_room() {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Some(id) = self.insert(stream, Phase::Handshake(Vec::new())) {
                        self.continue_handshake(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.listener_ready = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        log::warn!("virtio-vsock: cannot accept a connection: {error}");
                    }
                }
            }
        }
    }

    fn continue_handshake(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.read_handshake() {
            Handshake::Incomplete => {}
            // Not `remove`: when the listener calls, it goes on with the next connection itself.
            Handshake::Invalid => self.forget(id),
            Handshake::Port(guest) => {
                connection.phase = Phase::Requested { sent: false };
                let host = self.free_host_port(guest);
                self.assign(id, Ports { host, guest });
                self.enqueue(id);
            }
        }
    }

    fn free_host_port(&mut self, guest: u32) -> u32 {
        // There are fewer connections than ports, so this ends.
        loop {
            let host = self.next_host_port;
            self.next_host_port = host.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.by_ports.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    /// Whether one more connection may exist. A guest that never confirms the end of a connection loses it here.
    fn make_room(&mut self) -> bool {
        if self.connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let lingering =
            self.connections.iter().find(|(_, connection)| connection.is_lingering()).map(|(id, _)| *id);
        match lingering {
            Some(id) => {
                let ports = self.ports.get(&id).copied();
                self.forget(id);
                self.resets.extend(ports);
                true
            }
            None => false,
        }
    }

    fn insert(&mut self, stream: UnixStream, phase: Phase) -> Option<u64> {
        self.last_id += 1;
        let id = self.last_id;
        let watched = stream.set_nonblocking(true).and_then(|()| {
            self.epoll.ctl(ControlOperation::Add, stream.as_raw_fd(), stream_events(id, false))
        });
        if let Err(error) = watched {
            log::warn!("virtio-vsock: cannot watch a stream: {error}");
            return None;
        }
        self.connections.insert(id, Connection::new(stream, phase));
        Some(id)
    }

    fn assign(&mut self, id: u64, ports: Ports) {
        self.ports.insert(id, ports);
        self.by_ports.insert(ports, id);
    }

    fn unassign(&mut self, id: u64) {
        if let Some(ports) = self.ports.remove(&id) {
            self.by_ports.remove(&ports);
        }
    }

    /// Drops a connection, and with it the descriptor and its registration.
    fn forget(&mut self, id: u64) {
        self.unassign(id);
        if let Some(connection) = self.connections.remove(&id) {
            // The caller may hold duplicates of the descriptor, which would keep the registration alive.
            let descriptor = connection.stream().as_raw_fd();
            if let Err(error) = self.epoll.ctl(ControlOperation::Delete, descriptor, EpollEvent::default()) {
                log::warn!("virtio-vsock: cannot forget a stream: {error}");
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.forget(id);
        self.accept();
    }

    /// Ends all connections without telling the guest, which has forgotten them. What it sent is still delivered.
    pub fn forget_guest(&mut self) {
        let ids: Vec<u64> = self.ports.keys().copied().collect();
        for id in ids {
            self.reset_by_guest(id);
        }
        self.ready.clear();
        self.resets.clear();
        self.paused = false;
    }

    /// The guest has ended: delivers what it sent before, then drops all connections.
    pub fn finish(&mut self) {
        std::mem::take(&mut self.connections).into_values().for_each(Connection::finish);
        self.ports.clear();
        self.by_ports.clear();
        self.ready.clear();
    }

    /// Connections that exist, for tests.
    #[cfg(test)]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }
}

/// What a stream is watched for. Room only while something waits for it: every read at its other end would wake this thread.
fn stream_events(id: u64, room: bool) -> EpollEvent {
    let set = EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
    EpollEvent::new(if room { set | EventSet::OUT } else { set }, id)
}

// The buffer of all connections together bounds what a guest can make this process hold.
const _: () = assert!(MAX_CONNECTIONS as u64 * BUFFER_BYTES as u64 <= 64 << 20);

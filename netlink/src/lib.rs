//! Requests to the kernel's network configuration and its answers, one after the other, without an asynchronous runtime.
//!
//! Responsible for: a routing netlink socket, acknowledgements and lists. Must not know: what is configured, nor whether this is a
//! host or a guest. Follows rtnetlink(7) and netlink(7).
//!
//! Of the messages' library a program gets what it uses: a change knows its own type and is acknowledged without the library, so
//! that guest-init, which never lists anything, is not twice its size.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::tc::TcMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
pub use netlink_packet_route as route;

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// The message that acknowledges or refuses a request (`NLMSG_ERROR`).
const ERROR: u16 = libc::NLMSG_ERROR as u16;

/// Why the kernel did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused, or the socket did.
    #[error(transparent)]
    Kernel(#[from] io::Error),
    /// The kernel's answer is not understood.
    #[error("the kernel's answer is malformed: {0}")]
    Malformed(String),
    /// The answer to a list was cut off.
    #[error("the kernel's list is incomplete")]
    Incomplete,
}

/// A message that changes something, and knows its own type.
pub trait Change: Emitable {
    /// The type.
    const KIND: u16;
}

/// Sets what an interface is like.
impl Change for LinkMessage {
    const KIND: u16 = libc::RTM_SETLINK;
}

/// Adds an address.
impl Change for AddressMessage {
    const KIND: u16 = libc::RTM_NEWADDR;
}

/// Adds a route.
impl Change for RouteMessage {
    const KIND: u16 = libc::RTM_NEWROUTE;
}

/// Adds a rule.
impl Change for RuleMessage {
    const KIND: u16 = libc::RTM_NEWRULE;
}

/// Adds a queueing discipline to an interface.
#[derive(Debug)]
pub struct Discipline(pub TcMessage);

/// Adds a filter to a queueing discipline.
#[derive(Debug)]
pub struct Filter(pub TcMessage);

impl Emitable for Discipline {
    fn buffer_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

impl Change for Discipline {
    const KIND: u16 = libc::RTM_NEWQDISC;
}

impl Emitable for Filter {
    fn buffer_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }
}

impl Change for Filter {
    const KIND: u16 = libc::RTM_NEWTFILTER;
}

/// A connection to the network configuration of the name space in which it was opened.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    /// Opens a connection to the calling thread's network name space; it stays with that one, wherever the thread goes.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel carry out a change. `flags` are further flags of the request, `NLM_F_CREATE` for example.
    pub fn change<C: Change>(&mut self, change: &C, flags: u16) -> Result<(), NetlinkError> {
        let mut body = vec![0; change.buffer_len()];
        change.emit(&mut body);
        self.send(C::KIND, NLM_F_REQUEST | NLM_F_ACK | flags, &body)?;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if let Some(code) = acknowledgement(&datagram, self.sequence) {
                return if code == 0 {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(code.saturating_abs()).into())
                };
            }
        }
    }

    /// Has the kernel list everything that `message` asks for.
    pub fn list(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let message = NetlinkPayload::from(message);
        let kind = message.message_type();
        let NetlinkPayload::InnerMessage(message) = message else { return Ok(Vec::new()) };
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, &body)?;
        let mut list = Vec::new();
        loop {
            for answer in self.receive()? {
                match answer {
                    NetlinkPayload::InnerMessage(entry) => list.push(entry),
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(list),
                    NetlinkPayload::Done(done) => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_abs()).into());
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    _ => return Err(NetlinkError::Incomplete),
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER_BYTES.saturating_add(body.len());
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        // The port of the sender, which the socket knows.
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(body);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// The answers in one datagram, but for those to requests that were given up.
    fn receive(&mut self) -> Result<Vec<NetlinkPayload<RouteNetlinkMessage>>, NetlinkError> {
        let malformed = |error: netlink_packet_core::DecodeError| NetlinkError::Malformed(error.to_string());
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(malformed)?;
            let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.checked_next_multiple_of(4).unwrap_or(usize::MAX)..).unwrap_or_default();
            if answer.header.sequence_number == self.sequence {
                answers.push(answer.payload);
            }
        }
        Ok(answers)
    }
}

/// What the datagram says about the request, if that is what it is about: 0 or an error's number. An acknowledgement comes alone.
fn acknowledgement(datagram: &[u8], sequence: u32) -> Option<i32> {
    let number = |at: usize| datagram.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let kind = datagram.get(4..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))?;
    (kind == ERROR && number(8)? == sequence).then_some(number(HEADER_BYTES)?.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, sequence: u32, code: i32) -> Vec<u8> {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(code.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_acknowledgement_is_known_by_its_type_and_its_requests_number() {
        assert_eq!(acknowledgement(&answer(ERROR, 7, 0), 7), Some(0));
        assert_eq!(acknowledgement(&answer(ERROR, 7, -17), 7), Some(-17));
        assert_eq!(acknowledgement(&answer(ERROR, 6, -17), 7), None);
        assert_eq!(acknowledgement(&answer(16, 7, 0), 7), None);
        assert_eq!(acknowledgement(&answer(ERROR, 7, 0)[..18], 7), None);
        assert_eq!(acknowledgement(&[], 7), None);
    }

    #[test]
    fn the_kernel_lists_the_loopback_interface_and_refuses_what_is_not_there() {
        use netlink_packet_route::link::LinkAttribute;

        let mut kernel = Connection::open().unwrap();

        let links = kernel.list(RouteNetlinkMessage::GetLink(LinkMessage::default())).unwrap();
        let mut nothing = LinkMessage::default();
        nothing.header.index = u32::MAX >> 1;
        let refused = kernel.change(&nothing, 0);

        let is_loopback = |message: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewLink(link) = message else { return false };
            link.attributes.iter().any(|it| matches!(it, LinkAttribute::IfName(name) if name == "lo"))
        };
        assert!(links.iter().any(is_loopback), "{links:?}");
        assert!(matches!(refused, Err(NetlinkError::Kernel(_))), "{refused:?}");
    }
}

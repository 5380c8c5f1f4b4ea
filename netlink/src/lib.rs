//! Requests to the kernel's network configuration and its answers, one after the other, without an asynchronous runtime.
//!
//! Responsible for: a routing netlink socket, acknowledgements and lists. Must not know: what is configured, nor whether this is a
//! host or a guest. Follows rtnetlink(7) and netlink(7).

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
pub use netlink_packet_route as route;

use netlink_packet_route::RouteNetlinkMessage;

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

impl NetlinkError {
    /// The error's number, if it is one of the kernel's.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel(error) => error.raw_os_error(),
            Self::Malformed(_) | Self::Incomplete => None,
        }
    }
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
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            for answer in self.receive()? {
                if let NetlinkPayload::Error(error) = answer {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io().into()) };
                }
            }
        }
    }

    /// Has the kernel list everything that `message` asks for.
    pub fn list(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
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

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
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
            let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if answer.header.sequence_number == self.sequence {
                answers.push(answer.payload);
            }
        }
        Ok(answers)
    }
}

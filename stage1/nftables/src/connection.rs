//! Conversation with the kernel.
//!
//! Responsible for: sending a transaction or a question and understanding the answers. Must not know: what is changed or asked.
//! Follows netlink(7).

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::attributes::{parse, text};
use crate::batch::Batch;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Longest transaction: the kernel takes one as a single message, for which a socket has 208 KiB unless the administrator
/// says otherwise. A rule is about 500 bytes.
const MAX_BATCH_BYTES: usize = 128 * 1024;

/// Longest answer to a question: 10,000 pods with ten chains each.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// Why the packet filter is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no connection to it.
    #[error("cannot reach the kernel's packet filter (nf_tables)")]
    Unreachable(#[source] io::Error),
    /// The transaction cannot be sent.
    #[error("{rules} rules of a packet filter are too many for one transaction")]
    TooLong {
        /// How many changes there were.
        rules: usize,
    },
    /// The kernel does not take it; nothing was changed.
    #[error("nft refused to {what}{hint}")]
    Refused {
        /// What it was asked for.
        what: String,
        /// What can be done.
        hint: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It says something that is not understood.
    #[error("the kernel's packet filter gave an answer that makes no sense")]
    Nonsense,
}

impl NftError {
    /// Whether this kernel has no packet filter at all, so that there are no rules either.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Unreachable(cause) | Self::Refused { cause, .. } => {
                let missing = [libc_errno::EPROTONOSUPPORT, libc_errno::EOPNOTSUPP, libc_errno::EINVAL];
                cause.raw_os_error().is_some_and(|errno| missing.contains(&errno))
            }
            Self::TooLong { .. } | Self::Nonsense => false,
        }
    }
}

/// Numbers of errno(3) that mean something here.
mod libc_errno {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const EEXIST: i32 = 17;
    pub const EINVAL: i32 = 22;
    pub const EPROTO: i32 = 71;
    pub const EPROTONOSUPPORT: i32 = 93;
    pub const EOPNOTSUPP: i32 = 95;
}

/// A connection to the packet filter of the network name space in which it was opened.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    /// Opens a connection to the calling thread's network name space.
    pub fn open() -> Result<Self, NftError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // The kernel answers before the request's system call returns: an answer that is not there never comes.
            socket.set_non_blocking(true)?;
            // Both only make answers shorter and clearer.
            let _ = socket.set_cap_ack(true).and_then(|()| socket.set_ext_ack(true));
            Ok(socket)
        };
        open().map(|socket| Self { socket, sequence: 1 }).map_err(NftError::Unreachable)
    }

    /// Has the kernel carry out a transaction. Unless that succeeds, nothing has changed.
    pub fn commit(&mut self, batch: Batch) -> Result<(), NftError> {
        let batch = batch.encode(self.sequence);
        let count = batch.names.len();
        if batch.bytes.len() > MAX_BATCH_BYTES {
            return Err(NftError::TooLong { rules: count });
        }
        self.sequence = self.sequence.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX)).wrapping_add(2);
        self.socket.send(&batch.bytes, 0).map_err(NftError::Unreachable)?;
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(NftError::Unreachable)?;
            for message in Messages(&bytes) {
                let Some((errno, told)) = message.verdict() else { continue };
                let index = message.sequence.wrapping_sub(batch.first_sequence);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                if errno != 0 {
                    let what = batch.names.get(index).map_or("begin a transaction", String::as_str);
                    return Err(refused(what.to_owned(), errno, told));
                }
                if index == last {
                    return Ok(());
                }
            }
        }
    }

    /// The kernel's answer to a question for a list: each entry's attributes.
    pub(crate) fn ask(&mut self, request: &[u8], what: &str) -> Result<Vec<Vec<u8>>, NftError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(request, 0).map_err(NftError::Unreachable)?;
        let (mut entries, mut total) = (Vec::new(), 0_usize);
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(NftError::Unreachable)?;
            total = total.saturating_add(bytes.len());
            if total > MAX_LIST_BYTES {
                return Err(NftError::Nonsense);
            }
            for message in Messages(&bytes) {
                match message.kind {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => {
                        let (errno, told) = message.verdict().ok_or(NftError::Nonsense)?;
                        return Err(refused(what.to_owned(), errno, told));
                    }
                    // Behind the family, the version and the resource.
                    _ => entries.push(message.body.get(4..).ok_or(NftError::Nonsense)?.to_vec()),
                }
            }
        }
    }

    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence
    }
}

fn refused(what: String, errno: i32, told: Option<String>) -> NftError {
    let hint = match errno {
        libc_errno::EPERM => ": this needs CAP_NET_ADMIN".to_owned(),
        libc_errno::EEXIST => ": something of that name is there already".to_owned(),
        libc_errno::ENOENT | libc_errno::EOPNOTSUPP | libc_errno::EINVAL => {
            ": the kernel may lack a module (nf_tables, nft_chain_nat, nft_nat, nft_masq, nft_ct, nft_fib_inet, \
             nft_reject_inet; for bridges nft_reject_bridge)"
                .to_owned()
        }
        libc_errno::EPROTO => ": the kernel lacks the module nf_conntrack_bridge".to_owned(),
        _ => String::new(),
    };
    let hint = told.map(|told| format!(" ({told})")).unwrap_or_default() + &hint;
    NftError::Refused { what, hint, cause: io::Error::from_raw_os_error(errno) }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// The error number of an answer, 0 for success, and what the kernel says about it.
    fn verdict(&self) -> Option<(i32, Option<String>)> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?).checked_neg()?;
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return Some((errno, None));
        }
        let original =
            self.body.get(4..8).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)))?;
        // The request it answers comes first: its header alone if capped.
        let skipped = if self.flags & NLM_F_CAPPED != 0 {
            HEADER_BYTES
        } else {
            usize::try_from(original).ok()?.next_multiple_of(4)
        };
        let attributes = self.body.get(skipped.saturating_add(4)..).unwrap_or_default();
        let told = parse(attributes).into_iter().find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
        Some((errno, told.map(|(_, value)| text(value))))
    }
}

/// The messages in a buffer; what is cut off ends them.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let bytes = self.0;
        let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let body = bytes.get(HEADER_BYTES..length)?;
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?),
            body,
        })
    }
}

#[cfg(test)]
#[path = "connection_test.rs"]
mod connection_test;

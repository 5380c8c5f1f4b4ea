//! What one side knows of a tunnel, without I/O.
//!
//! Responsible for: what may still be sent and received, what waits to be written, when the tunnel is over. Must not know:
//! sockets, and which of the two sides it is on. Follows the crate's documentation, "tunnel".

use std::collections::VecDeque;

use crate::{INITIAL_TUNNEL_CREDIT_BYTES, MAX_TUNNEL_BYTES};

/// Credit is granted in steps of a quarter of what each side starts with: not a message for every write.
const CREDIT_STEP_BYTES: u32 = INITIAL_TUNNEL_CREDIT_BYTES / 4;

/// What the other side of a tunnel must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelFault {
    /// More bytes than were granted, or in pieces larger than agreed.
    #[error("more bytes than were granted")]
    BeyondCredit,
    /// Credit for bytes that it was not sent.
    #[error("credit for bytes that it was not sent")]
    BeyondSent,
    /// Bytes, or another end, after its end.
    #[error("something after its end")]
    AfterEnd,
}

/// One side's state of a tunnel. "Here" is the socket on this side, "the peer" the other side of the control connection.
#[derive(Debug)]
pub struct TunnelState {
    /// From the peer, not written here yet; no more than was granted.
    waiting: VecDeque<u8>,
    /// What the peer may still send.
    granted: u32,
    /// Written here or dropped, and not granted again yet.
    earned: u32,
    /// What may still be sent to the peer.
    credit: u32,
    /// Nobody takes what the peer sends.
    dropping: bool,
    peer_ended: bool,
    ended: bool,
}

impl Default for TunnelState {
    fn default() -> Self {
        Self::new()
    }
}

impl TunnelState {
    /// A tunnel that was just opened.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            granted: INITIAL_TUNNEL_CREDIT_BYTES,
            earned: 0,
            credit: INITIAL_TUNNEL_CREDIT_BYTES,
            dropping: false,
            peer_ended: false,
            ended: false,
        }
    }

    /// Takes bytes of the peer's; they are [`Self::waiting`] to be written here.
    pub fn receive(&mut self, data: &[u8]) -> Result<(), TunnelFault> {
        if self.peer_ended {
            return Err(TunnelFault::AfterEnd);
        }
        let length = u32::try_from(data.len()).map_err(|_| TunnelFault::BeyondCredit)?;
        if data.len() > MAX_TUNNEL_BYTES {
            return Err(TunnelFault::BeyondCredit);
        }
        self.granted = self.granted.checked_sub(length).ok_or(TunnelFault::BeyondCredit)?;
        if self.dropping {
            self.earned = self.earned.saturating_add(length);
        } else {
            self.waiting.extend(data);
        }
        Ok(())
    }

    /// The peer has taken so many bytes.
    pub fn receive_credit(&mut self, bytes: u32) -> Result<(), TunnelFault> {
        let credit = self.credit.checked_add(bytes).filter(|it| *it <= INITIAL_TUNNEL_CREDIT_BYTES);
        self.credit = credit.ok_or(TunnelFault::BeyondSent)?;
        Ok(())
    }

    /// The peer sends nothing more.
    pub fn receive_end(&mut self) -> Result<(), TunnelFault> {
        if std::mem::replace(&mut self.peer_ended, true) { Err(TunnelFault::AfterEnd) } else { Ok(()) }
    }

    /// The next bytes to write here; empty if there are none.
    pub fn waiting(&self) -> &[u8] {
        let (front, back) = self.waiting.as_slices();
        if front.is_empty() { back } else { front }
    }

    /// So many of [`Self::waiting`] were written here.
    pub fn wrote(&mut self, count: usize) {
        let count = count.min(self.waiting.len());
        self.waiting.drain(..count);
        self.earned = self.earned.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Nothing can be written here any more: what comes is dropped.
    pub fn drop_input(&mut self) {
        self.wrote(self.waiting.len());
        self.dropping = true;
    }

    /// Bytes to grant the peer, if it is time to.
    pub fn grant(&mut self) -> Option<u32> {
        if self.earned < CREDIT_STEP_BYTES || self.peer_ended {
            return None;
        }
        let bytes = std::mem::take(&mut self.earned);
        self.granted = self.granted.saturating_add(bytes);
        Some(bytes)
    }

    /// How many bytes the next message to the peer may have.
    pub fn may_send(&self) -> usize {
        if self.ended { 0 } else { MAX_TUNNEL_BYTES.min(self.credit.try_into().unwrap_or(MAX_TUNNEL_BYTES)) }
    }

    /// So many bytes are on their way to the peer, no more than [`Self::may_send`].
    pub fn sent(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Nothing more goes to the peer. Says whether that is new, and must be told.
    pub fn end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true)
    }

    /// Whether the peer has ended, and everything it sent was written here.
    pub fn is_drained(&self) -> bool {
        self.peer_ended && self.waiting.is_empty()
    }

    /// Whether both sides have ended: the number is free.
    pub fn is_over(&self) -> bool {
        self.peer_ended && self.ended
    }
}

//! One output of an app and everybody who reads it.
//!
//! Responsible for: one copy of what somebody has still to take, and how much everybody has taken. Must not know: sockets.
//! Follows guest-api's `Credit`, which bounds the copy: the guest sends no more than the slowest reader left room for.

use std::collections::{BTreeMap, VecDeque};

use super::ClientId;

/// An output. Positions are bytes since its beginning.
#[derive(Debug, Default)]
pub struct Broadcast {
    /// What has come.
    end: u64,
    /// What rkt's own output has taken.
    own: u64,
    /// What is known to have been taken by everybody.
    reported: u64,
    /// The last bytes before `end`, from the slowest client's position on.
    kept: VecDeque<u8>,
    clients: BTreeMap<ClientId, u64>,
    closed: bool,
}

impl Broadcast {
    /// The next bytes.
    pub fn push(&mut self, data: &[u8]) {
        self.skip(data.len());
        if !self.clients.is_empty() {
            self.kept.extend(data);
        }
    }

    /// So many bytes come of an output that nobody can attach to.
    pub fn skip(&mut self, bytes: usize) {
        self.end = self.end.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Nothing more comes.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// From now on the client gets what comes.
    pub fn attach(&mut self, client: ClientId) {
        self.clients.insert(client, self.end);
    }

    /// The client takes nothing any more.
    pub fn detach(&mut self, client: ClientId) {
        self.clients.remove(&client);
        self.forget();
    }

    /// What the client is to take next; empty if there is nothing.
    pub fn waiting(&self, client: ClientId) -> &[u8] {
        let behind = self.clients.get(&client).map_or(0, |position| self.end.saturating_sub(*position));
        let behind = usize::try_from(behind).unwrap_or(usize::MAX).min(self.kept.len());
        let skipped = self.kept.len().saturating_sub(behind);
        let (front, back) = self.kept.as_slices();
        match skipped.checked_sub(front.len()) {
            None => front.get(skipped..).unwrap_or_default(),
            Some(into_back) => back.get(into_back..).unwrap_or_default(),
        }
    }

    /// The client has taken so many bytes.
    pub fn took(&mut self, client: ClientId, bytes: usize) {
        if let Some(position) = self.clients.get_mut(&client) {
            *position = position.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)).min(self.end);
        }
        self.forget();
    }

    /// rkt's own output has taken so many bytes.
    pub fn own_output_took(&mut self, bytes: u32) {
        self.own = self.own.saturating_add(bytes.into()).min(self.end);
    }

    /// Bytes that everybody has taken since this was last asked.
    pub fn taken(&mut self) -> u32 {
        let slowest = self.clients.values().copied().chain([self.own]).min().unwrap_or(self.end);
        let taken = slowest.saturating_sub(self.reported);
        self.reported = self.reported.max(slowest);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// Whether the client has everything that will ever come.
    pub fn is_over_for(&self, client: ClientId) -> bool {
        self.closed && self.waiting(client).is_empty()
    }

    fn forget(&mut self) {
        let slowest = self.clients.values().copied().min().unwrap_or(self.end);
        let wanted = usize::try_from(self.end.saturating_sub(slowest)).unwrap_or(usize::MAX);
        let unwanted = self.kept.len().saturating_sub(wanted);
        self.kept.drain(..unwanted);
    }
}

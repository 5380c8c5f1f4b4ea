//! What waits for a client to read it.
//!
//! Responsible for: a bound on it, whatever the client does: bytes of a stream and credit wait as one number or one buffer each,
//! not as messages. Must not know: sockets. Follows `protocol`.

use std::collections::VecDeque;

use guest_api::{INITIAL_CREDIT_BYTES, MAX_OUTPUT_BYTES, StdioStream};

use super::protocol::Reply;

/// A client that grants credit for bytes which it has not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client granted credit for output that it has not read")]
pub struct UnreadCredit;

/// The replies of one client.
#[derive(Debug, Default)]
pub struct Replies {
    /// `Stopping` or `Started`, at most one each, and warnings about an app, which has a bounded number of isolators and mounts.
    acknowledgements: VecDeque<Reply>,
    input_credit: u32,
    stdout: VecDeque<u8>,
    stderr: VecDeque<u8>,
    last: Option<Reply>,
}

impl Replies {
    /// Queues a reply. Nothing may follow those that are a last word.
    pub fn push(&mut self, reply: Reply) -> Result<(), UnreadCredit> {
        match reply {
            Reply::Stopping | Reply::Started | Reply::Warning(_) => {
                if !self.acknowledgements.contains(&reply) {
                    self.acknowledgements.push_back(reply);
                }
            }
            Reply::InputCredit(bytes) => self.input_credit = self.input_credit.saturating_add(bytes),
            Reply::Output { stream, data } => {
                let waiting = match stream {
                    StdioStream::Stdout => &mut self.stdout,
                    StdioStream::Stderr => &mut self.stderr,
                };
                if waiting.len().saturating_add(data.len()) > INITIAL_CREDIT_BYTES as usize {
                    return Err(UnreadCredit);
                }
                waiting.extend(data);
            }
            Reply::Exited(_)
            | Reply::Failed(_)
            | Reply::PodEnded
            | Reply::Done
            | Reply::NotRunning
            | Reply::Metrics(_) => self.last = Some(reply),
        }
        Ok(())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.acknowledgements.is_empty()
            && self.input_credit == 0
            && self.stdout.is_empty()
            && self.stderr.is_empty()
            && self.last.is_none()
    }

    /// The next reply to send: the last word only when everything else is out.
    pub fn pop(&mut self) -> Option<Reply> {
        if let Some(reply) = self.acknowledgements.pop_front() {
            return Some(reply);
        }
        if self.input_credit > 0 {
            return Some(Reply::InputCredit(std::mem::take(&mut self.input_credit)));
        }
        for (stream, waiting) in
            [(StdioStream::Stdout, &mut self.stdout), (StdioStream::Stderr, &mut self.stderr)]
        {
            if !waiting.is_empty() {
                let count = waiting.len().min(MAX_OUTPUT_BYTES);
                return Some(Reply::Output { stream, data: waiting.drain(..count).collect() });
            }
        }
        self.last.take()
    }
}

//! What the guest says, on its way from the socket.
//!
//! Responsible for: reading it, and having the kernel move what an interactive app writes from there into rkt's own output. Must
//! not know: what messages mean. Follows guest-api and splice(2).

use std::time::{SystemTime, UNIX_EPOCH};

use guest_api::{Identity, Incoming, MAX_FRAME_BYTES, Output, OutputFront, PodSpec, Process, ToHost};

use super::{Supervisor, SupervisorError};
use crate::plan::STOP_GRACE_MS;

/// What may wait for the guest to read it before it is not listened to any more: two of the longest messages. guest-init reads
/// whatever it has to say itself. A hostile guest that does not would have answers to what it says fill the host's memory.
const MAX_UNREAD_BYTES: usize = 2 * MAX_FRAME_BYTES;

/// What is read at once of an output that cannot be moved as it is.
const READ_BYTES: usize = 64 * 1024;

/// An output whose front has been read, and of whose bytes so many have not.
#[derive(Debug)]
pub(super) struct Passing {
    front: OutputFront,
    left: usize,
}

impl Supervisor<'_> {
    /// Reads what the guest says, and does what follows from it. Says whether there was something to read.
    pub(super) fn hear_guest(&mut self) -> Result<bool, SupervisorError> {
        // Of other streams every byte is looked at.
        if self.console.is_some() && self.passing.is_none() {
            self.begin_passing()?;
        }
        if let Some(passing) = self.passing.take() {
            return self.pass(passing);
        }
        let has_read = self.pod.control.fill()?;
        self.converse()?;
        Ok(has_read)
    }

    /// Whether the guest reads what it is sent.
    pub(super) fn may_hear_guest(&self) -> bool {
        self.pod.control.outgoing_bytes() < MAX_UNREAD_BYTES
    }

    /// Has the guest follow the host's clock. One that does not read has lost its own sense of time anyway.
    pub(super) fn compare_clocks(&mut self) -> Result<(), SupervisorError> {
        if self.clock.has_news().map_err(SupervisorError::Clock)? && self.may_hear_guest() {
            let actions = self.conversation.compare_clocks(now_ns());
            self.carry_out(actions)?;
        }
        Ok(())
    }

    fn converse(&mut self) -> Result<(), SupervisorError> {
        while let Some(incoming) = self.pod.control.next_message()? {
            let message = match incoming {
                Incoming::Output(Output { process: Process::App(app), stream, data }) => {
                    self.conversation.output(app, stream, data.len())?;
                    self.pod.metrics.counts.output_bytes.add(data.len() as u64);
                    self.attachments.push(app, stream, data);
                    self.outputs.push(app, stream, data);
                    continue;
                }
                Incoming::Output(Output { process, stream, data }) => {
                    ToHost::Output { process, stream, data: data.to_vec() }
                }
                Incoming::Message(message) => message,
            };
            let spec = || PodSpec {
                identity: Identity {
                    uuid: self.pod.uuid.to_string(),
                    hostname: self.pod.guest.hostname.clone(),
                    realtime_ns: now_ns(),
                    entropy: self.entropy,
                },
                apps: self.pod.guest.apps.clone(),
                stop_on_failure: !self.pod.additions.flags.mutable,
                stop_grace_ms: STOP_GRACE_MS,
                metadata_service: self.pod.guest.metadata_service,
                mutable: self.pod.additions.flags.mutable,
                network: self.pod.guest.network.clone(),
            };
            let actions = self.conversation.receive(message, spec)?;
            self.pod.metrics.marks.init.set();
            self.pod.metrics.counts.messages.add(1);
            self.carry_out(actions)?;
        }
        Ok(())
    }

    fn begin_passing(&mut self) -> Result<(), SupervisorError> {
        let Some(front) = self.pod.control.next_output()? else { return Ok(()) };
        let OutputFront { process: Process::App(app), stream, bytes, .. } = front else { return Ok(()) };
        if self.outputs.splices(app, stream) {
            self.pod.control.take_front(front)?;
            self.conversation.output(app, stream, bytes)?;
            self.pod.metrics.counts.output_bytes.add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.attachments.skip(app, stream, bytes);
            self.passing = Some(Passing { front, left: bytes });
        }
        Ok(())
    }

    fn pass(&mut self, passing: Passing) -> Result<bool, SupervisorError> {
        let Passing { front, mut left } = passing;
        let Process::App(app) = front.process else { return Ok(false) };
        let mut has_read = false;
        while left > 0 {
            let mut count = self.outputs.splice(app, front.stream, self.pod.control.descriptor(), left);
            if count == 0 {
                // The reader is slow, or there is nothing to read. What was read waits for the one; the other will be seen again.
                let mut bytes = vec![0; left.min(READ_BYTES)];
                count = self.pod.control.take_bytes(&mut bytes)?;
                self.outputs.push(app, front.stream, bytes.get(..count).unwrap_or_default());
            }
            if count == 0 {
                self.passing = Some(Passing { front, left });
                return Ok(has_read);
            }
            has_read = true;
            left = left.saturating_sub(count);
        }
        Ok(true)
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

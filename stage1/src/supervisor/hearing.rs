//! What the guest says, on its way from the socket.
//!
//! Responsible for: reading it, and having the kernel move what an interactive app writes from there into rkt's own output. Must
//! not know: what messages mean. Follows guest-api and splice(2).

use guest_api::{OutputFront, Process};

use super::{Supervisor, SupervisorError};

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
        let has_read = self.control.fill()?;
        self.converse()?;
        Ok(has_read)
    }

    fn begin_passing(&mut self) -> Result<(), SupervisorError> {
        let Some(front) = self.control.next_output()? else { return Ok(()) };
        let OutputFront { process: Process::App(app), stream, bytes, .. } = front else { return Ok(()) };
        if self.outputs.splices(app, stream) {
            self.control.take_front(front)?;
            self.conversation.output(app, stream, bytes)?;
            self.metrics.counts.output_bytes.add(u64::try_from(bytes).unwrap_or(u64::MAX));
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
            let mut count = self.outputs.splice(app, front.stream, self.control.descriptor(), left);
            if count == 0 {
                // The reader is slow, or there is nothing to read. What was read waits for the one; the other will be seen again.
                let mut bytes = vec![0; left.min(READ_BYTES)];
                count = self.control.take_bytes(&mut bytes)?;
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

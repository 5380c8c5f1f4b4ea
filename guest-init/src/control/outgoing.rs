//! What waits to be written to the host.
//!
//! Responsible for: the order of messages, and that what a process wrote is sent from where it was read to. Must not know: what is
//! in messages but for outputs, which it puts the front of a frame before. Follows guest-api.

use std::collections::VecDeque;

use guest_api::{
    FrameError, MAX_OUTPUT_BYTES, MAX_OUTPUT_FRONT_BYTES, Process, StdioStream, ToHost, append, output_front,
};

/// What is read of an output at once: with the front of its frame, what fits one packet of the socket device (64 KiB).
pub const OUTPUT_BYTES: usize = MAX_OUTPUT_BYTES - 64;

/// Buffers that are kept for the next outputs: one is read to while the other one waits for room in the device.
const MAX_SPARE_BUFFERS: usize = 2;

/// Where an output is read to.
#[derive(Debug)]
pub struct OutputBuffer(Vec<u8>);

impl OutputBuffer {
    /// Where its bytes go, from the first on.
    pub fn room(&mut self) -> &mut [u8] {
        self.0.get_mut(MAX_OUTPUT_FRONT_BYTES..).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// What of it is still to be written.
    start: usize,
    end: usize,
    /// An output, in a buffer that is used again.
    is_output: bool,
}

/// Messages, the first of which may be written in part.
#[derive(Debug, Default)]
pub struct Outgoing {
    pieces: VecDeque<Piece>,
    unsent: usize,
    spare: Vec<Vec<u8>>,
}

impl Outgoing {
    /// A buffer for an output.
    pub fn buffer(&mut self) -> OutputBuffer {
        OutputBuffer(self.spare.pop().unwrap_or_else(|| vec![0; MAX_OUTPUT_FRONT_BYTES + OUTPUT_BYTES]))
    }

    /// Takes a buffer back that nothing was read to.
    pub fn give_back(&mut self, buffer: OutputBuffer) {
        self.keep(buffer.0);
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// Queues a message.
    pub fn push(&mut self, message: &ToHost) -> Result<(), FrameError> {
        // What is written in part is not added to: it would be kept whole until it is written to its end, which may be never.
        let mut bytes = match self.pieces.pop_back_if(|piece| !piece.is_output && piece.start == 0) {
            Some(last) => last.bytes,
            None => Vec::new(),
        };
        let before = bytes.len();
        let appended = append(&mut bytes, message);
        let end = bytes.len();
        self.unsent = self.unsent.saturating_add(end.saturating_sub(before));
        if end > 0 {
            self.pieces.push_back(Piece { bytes, start: 0, end, is_output: false });
        }
        appended
    }

    /// Queues the first `count` bytes of the buffer as an output.
    pub fn push_output(
        &mut self,
        process: Process,
        stream: StdioStream,
        buffer: OutputBuffer,
        count: usize,
    ) -> Result<(), FrameError> {
        let OutputBuffer(mut bytes) = buffer;
        let front = output_front(process, stream, count)?;
        let start = MAX_OUTPUT_FRONT_BYTES.saturating_sub(front.len());
        for (slot, byte) in bytes.iter_mut().skip(start).zip(&front) {
            *slot = *byte;
        }
        let end = bytes.len().min(MAX_OUTPUT_FRONT_BYTES + count);
        self.unsent = self.unsent.saturating_add(end.saturating_sub(start));
        self.pieces.push_back(Piece { bytes, start, end, is_output: true });
        Ok(())
    }

    /// Bytes that are still to be written.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Bytes that are kept for that.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// The next of them; `None` if there are none.
    pub fn front(&self) -> Option<&[u8]> {
        self.pieces.front().and_then(|piece| piece.bytes.get(piece.start..piece.end))
    }

    /// So many of [`Self::front`] are written.
    pub fn wrote(&mut self, count: usize) {
        let Some(piece) = self.pieces.front_mut() else { return };
        let count = count.min(piece.end.saturating_sub(piece.start));
        piece.start += count;
        self.unsent = self.unsent.saturating_sub(count);
        if let Some(piece) = self.pieces.pop_front_if(|piece| piece.start == piece.end)
            && piece.is_output
        {
            self.keep(piece.bytes);
        }
    }
}

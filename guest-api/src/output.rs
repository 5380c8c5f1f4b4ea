//! What processes write, on its way through messages without a copy of its own.
//!
//! Responsible for: the same frames as [`ToHost::Output`], made from and taken apart into borrowed bytes, since everything that apps
//! write passes here. Must not know: where the bytes come from. Follows postcard's wire format.

use serde::ser::SerializeStructVariant;
use serde::{Deserialize, Serialize, Serializer};

use crate::frame::{FrameBuffer, FrameError, decode, encode_front};
use crate::{Process, StdioStream, ToHost};

/// Position of [`ToHost::Output`] among its siblings, which is how postcard tells them apart; a test compares.
const INDEX: u8 = 4;

/// A [`ToHost::Output`] that borrows its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// The app or the command.
    pub process: Process,
    /// Its stream.
    pub stream: StdioStream,
    /// The bytes, unchanged.
    pub data: &'a [u8],
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct_variant("ToHost", INDEX.into(), "Output", 3)?;
        fields.serialize_field("process", &self.process)?;
        fields.serialize_field("stream", &self.stream)?;
        fields.serialize_field("data", &Bytes(self.data))?;
        fields.end()
    }
}

/// No front of an output is longer: lengths and numbers take five bytes each at most.
pub const MAX_OUTPUT_FRONT_BYTES: usize = 24;

/// What stands in an output's frame in front of so many bytes, for who has the bytes in their place already. It takes at most
/// [`MAX_OUTPUT_FRONT_BYTES`].
pub fn output_front(process: Process, stream: StdioStream, bytes: usize) -> Result<Vec<u8>, FrameError> {
    encode_front(&(INDEX, process, stream, bytes), bytes)
}

/// The front of an output's frame, for who leaves the bytes behind it where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputFront {
    /// The app or the command.
    pub process: Process,
    /// Its stream.
    pub stream: StdioStream,
    /// How many bytes of it follow.
    pub bytes: usize,
    /// Length of the front itself.
    pub length: usize,
}

impl OutputFront {
    /// What the first [`MAX_OUTPUT_FRONT_BYTES`] of a frame begin. `None` if they are of another message, or wrong, or if there is less of
    /// them: whoever takes the frame as a whole finds out.
    pub fn of(start: &[u8]) -> Option<Self> {
        let (payload, rest) = start.split_first_chunk()?;
        let (&INDEX, fields) = rest.split_first()? else { return None };
        let ((process, stream, bytes), behind) = postcard::take_from_bytes(fields).ok()?;
        let length = start.len().checked_sub(behind.len())?;
        let front = Self { process, stream, bytes, length };
        let whole = length.checked_add(bytes)?.checked_sub(payload.len())?;
        (u32::try_from(whole) == Ok(u32::from_le_bytes(*payload))).then_some(front)
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A message from the guest.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A [`ToHost::Output`].
    Output(Output<'a>),
    /// Any other one.
    Message(ToHost),
}

#[derive(Deserialize)]
struct Fields<'a>(Process, StdioStream, &'a [u8]);

impl FrameBuffer {
    /// As [`FrameBuffer::next_message`], with the bytes of an output still in this buffer.
    pub fn next_incoming(&mut self) -> Result<Option<Incoming<'_>>, FrameError> {
        let Some(frame) = self.next_frame()? else { return Ok(None) };
        Ok(Some(match frame.split_first() {
            Some((&INDEX, fields)) => {
                let Fields(process, stream, data) = decode(fields)?;
                Incoming::Output(Output { process, stream, data })
            }
            _ => Incoming::Message(decode(frame)?),
        }))
    }
}

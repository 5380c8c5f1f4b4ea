//! Framing: a 32-bit little-endian length, then that many bytes of postcard.
//!
//! Responsible for: bounds. A peer that announces more than [`MAX_FRAME_BYTES`] or sends bytes that are no message
//! is an error, never an allocation of its choosing. Must not know: what the messages mean.

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest frame either side accepts. A pod of 100 apps with long environments stays below 1 MiB; four leave room for
/// generated files (hosts, resolv.conf) that travel inside the specification.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Why bytes could not become a message, or a message bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced, or the caller asked to send, a frame above [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes exceeds the limit of {MAX_FRAME_BYTES} bytes")]
    TooLong(usize),
    /// The payload is not a message of this protocol version.
    #[error("malformed message")]
    Malformed(#[source] postcard::Error),
    /// The message could not be serialised.
    #[error("message cannot be encoded")]
    Encode(#[source] postcard::Error),
}

/// Serialises `message` into one frame, length included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::new();
    append(&mut frame, message)?;
    Ok(frame)
}

/// The same behind what `buffer` has already. Nothing is appended in case of an error.
pub fn append<T: Serialize>(buffer: &mut Vec<u8>, message: &T) -> Result<(), FrameError> {
    let start = buffer.len();
    let appended = append_front(buffer, message, 0);
    if appended.is_err() {
        buffer.truncate(start);
    }
    appended
}

/// The front of a frame whose last `missing` bytes the caller has.
pub(crate) fn encode_front<T: Serialize>(front: &T, missing: usize) -> Result<Vec<u8>, FrameError> {
    let mut buffer = Vec::new();
    append_front(&mut buffer, front, missing)?;
    Ok(buffer)
}

fn append_front<T: Serialize>(buffer: &mut Vec<u8>, front: &T, missing: usize) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    postcard::serialize_with_flavor(front, Bytes(buffer)).map_err(FrameError::Encode)?;
    let payload = buffer.len().saturating_sub(start + LENGTH_BYTES).saturating_add(missing);
    let length = u32::try_from(payload)
        .ok()
        .filter(|_| payload <= MAX_FRAME_BYTES)
        .ok_or(FrameError::TooLong(payload))?;
    for (slot, byte) in buffer.iter_mut().skip(start).zip(length.to_le_bytes()) {
        *slot = byte;
    }
    Ok(())
}

/// A buffer that takes byte strings as a whole; postcard's own goes through them byte by byte.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Flavor for Bytes<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Collects bytes as they arrive and hands out whole messages.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that were already handed out.
    consumed: usize,
}

impl FrameBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing of a message is here.
    pub fn is_empty(&self) -> bool {
        self.consumed >= self.bytes.len()
    }

    /// Appends what was read from the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.space().extend_from_slice(bytes);
    }

    /// Where to append what is read from the connection, and nothing else.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.consumed > 0 {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
        &mut self.bytes
    }

    /// The next whole message, or `None` until more bytes arrive. After an error the connection is unusable.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        self.next_frame()?.map(decode).transpose()
    }

    /// What the next frame carries.
    pub(crate) fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let pending = self.bytes.get(self.consumed..).unwrap_or_default();
        let Some((length, rest)) = pending.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        self.consumed += LENGTH_BYTES + length;
        Ok(Some(payload))
    }
}

/// What bytes mean that are one value and nothing else.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FrameError> {
    let (value, trailing) = postcard::take_from_bytes(bytes).map_err(FrameError::Malformed)?;
    if !trailing.is_empty() {
        return Err(FrameError::Malformed(postcard::Error::DeserializeBadEncoding));
    }
    Ok(value)
}

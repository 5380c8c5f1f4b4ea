//! What rkt and its jailed process say to each other, over a socket pair.
//!
//! Responsible for: one request with its descriptors, one answer, both bounded. Must not know: what they mean. The
//! request comes from rkt; the answer may come from a process that an archive has taken over.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::ExtractError;
use super::selection::Options;

/// Most descriptors of a request: the archive, the target, and what they keep locked.
pub(super) const MAX_DESCRIPTORS: usize = 4;
/// Largest request. A whitelist stands in a manifest, whose size is bounded far below.
const MAX_REQUEST_BYTES: u64 = 64 * 1024 * 1024;
/// Largest answer: an error's text with a name or two of an archive.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// Bytes of the number that says how long a request is.
const LENGTH_BYTES: usize = 8;

/// How an extraction ended.
pub(super) type Answer = Result<(), ExtractError>;

/// Sends the request: its length with the descriptors, then the options.
pub(super) fn send_request(
    socket: &mut UnixStream,
    options: &Options,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(options)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let length = (text.len() as u64).to_le_bytes();
    let sent = sendmsg(&*socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent != LENGTH_BYTES {
        return Err(io::ErrorKind::WriteZero.into());
    }
    socket.write_all(&text)
}

/// Receives a request.
pub(super) fn receive_request(socket: &mut UnixStream) -> io::Result<(Options, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; LENGTH_BYTES];
    let received = recvmsg(
        &*socket,
        &mut [IoSliceMut::new(&mut length)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    if received.bytes != LENGTH_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let length = u64::from_le_bytes(length);
    if length > MAX_REQUEST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = Vec::new();
    socket.take(length).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

/// Sends the answer. Whoever does not hear it hears the exit status.
pub(super) fn send_answer(socket: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    socket.write_all(&serde_json::to_vec(answer)?)
}

/// Receives the answer, or `None` if there is none or it makes no sense.
pub(super) fn receive_answer(socket: UnixStream) -> Option<Answer> {
    let mut text = Vec::new();
    socket.take(MAX_ANSWER_BYTES).read_to_end(&mut text).ok()?;
    let answer: Answer = serde_json::from_slice(&text).ok()?;
    // Answers end up on a terminal, and none of ours contains anything that a terminal obeys.
    match &answer {
        Err(error) if error.to_string().contains(char::is_control) => None,
        _ => Some(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(answer: Answer) -> Option<Answer> {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        send_answer(&mut theirs, &answer).unwrap();
        drop(theirs);
        receive_answer(ours)
    }

    #[test]
    fn answer_with_something_that_a_terminal_obeys_is_none() {
        assert!(received(Err(ExtractError::Process("harmless".to_owned()))).is_some());
        assert!(received(Err(ExtractError::Process("\u{1b}]0;title\u{7}".to_owned()))).is_none());
    }
}

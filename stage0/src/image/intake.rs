//! An image on its way into the store, verified as it goes by.
//!
//! Responsible for: handing the same bytes to the verifier and to the store. Must not know: where they come from, which keys
//! count for the image. Follows rkt-reference.md 3.6.
//!
//! ```text
//!          ┌─channel─► OpenPGP verification
//! caller ──┤
//!          └─────────► decompression ──► SHA-512, cas/tmp    (store)
//! ```

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sequoia_openpgp::Cert;
use sha2::{Digest, Sha512};

use super::verify::{Signers, VerifyError, verify};
use crate::store::{ImageStore, Import, ImportStream, PendingImage, StoreError};

/// Chunks, of at most the size that callers write at once, that wait for the verifier.
const QUEUED_CHUNKS: usize = 8;

/// How the bytes are checked.
pub(super) enum Check {
    /// Not at all: the user turned it off.
    Off,
    /// Against a signature, by one of these keys.
    Signature(Vec<u8>, Vec<Cert>),
    /// Later, when the signature is there; until then their hash says what they were.
    Later,
}

/// An image that is being taken in. Dropped before [`Self::finish`], nothing of it stays.
pub(super) struct Intake<'s>(Option<Stages<'s>>);

struct Stages<'s> {
    import: ImportStream<'s>,
    verifier: Option<Verifier>,
    hash: Option<Sha512>,
}

struct Verifier {
    /// `None` at the end of the image.
    chunks: Option<SyncSender<Vec<u8>>>,
    thread: JoinHandle<Result<Signers, VerifyError>>,
}

/// A whole image, not committed.
pub(super) struct Taken<'s> {
    pub image: PendingImage<'s>,
    /// Who signed it, if that was checked.
    pub signers: Option<Signers>,
    /// SHA-512 of what was taken in, if it is to be checked later.
    pub digest: Option<Vec<u8>>,
}

/// What went wrong first.
pub(super) enum IntakeError {
    /// The signature is not to be believed.
    Verify(VerifyError),
    /// The image is invalid, or could not be stored.
    Store(StoreError),
}

impl From<StoreError> for IntakeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<'s> Intake<'s> {
    /// Starts the threads.
    pub fn begin(store: &'s ImageStore, import: &Import, check: Check) -> Result<Self, StoreError> {
        let (verifier, hash) = match check {
            Check::Off => (None, None),
            Check::Signature(signature, keys) => (Some(Verifier::start(signature, keys)?), None),
            Check::Later => (None, Some(Sha512::new())),
        };
        Ok(Self(Some(Stages { import: store.begin_import(import)?, verifier, hash })))
    }

    /// Takes in the next bytes. After an error there is nothing more to do.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        let stages = self.0.as_mut().ok_or_else(stopped)?;
        if !stages.verify(bytes) {
            let stages = self.0.take().ok_or_else(stopped)?;
            // Having ended before the image did, it has a reason.
            return Err(stages.signers().err().map_or_else(stopped, IntakeError::Verify));
        }
        if let Some(hash) = &mut stages.hash {
            hash.update(bytes);
        }
        if stages.import.write_all(bytes).is_ok() {
            return Ok(());
        }
        let stages = self.0.take().ok_or_else(stopped)?;
        Err(stages.import.finish().err().map_or_else(stopped, IntakeError::Store))
    }

    /// Ends the image and waits for the stages.
    pub fn finish(mut self) -> Result<Taken<'s>, IntakeError> {
        let Stages { import, verifier, hash } = self.0.take().ok_or_else(stopped)?;
        // First, for an image that was changed is often invalid, too, and that it was changed is the better reason.
        let signers = verifier.map(Verifier::finish).transpose().map_err(IntakeError::Verify)?;
        Ok(Taken { image: import.finish()?, signers, digest: hash.map(|hash| hash.finalize().to_vec()) })
    }
}

/// A stage that ended without a reason.
fn stopped() -> IntakeError {
    IntakeError::Store(StoreError::Thread(io::ErrorKind::BrokenPipe.into()))
}

impl Stages<'_> {
    /// Hands bytes to the verifier, if there is one. Returns whether it is still there.
    fn verify(&self, bytes: &[u8]) -> bool {
        let chunks = self.verifier.as_ref().and_then(|verifier| verifier.chunks.as_ref());
        chunks.is_none_or(|chunks| chunks.send(bytes.to_vec()).is_ok())
    }

    fn signers(self) -> Result<Option<Signers>, VerifyError> {
        self.verifier.map(Verifier::finish).transpose()
    }
}

impl Verifier {
    fn start(signature: Vec<u8>, keys: Vec<Cert>) -> Result<Self, StoreError> {
        let (sender, receiver) = sync_channel(QUEUED_CHUNKS);
        let chunks = Chunks { receiver, chunk: Vec::new(), position: 0 };
        let thread = std::thread::Builder::new()
            .name("verify".to_owned())
            .spawn(move || verify(&signature, chunks, &keys, "any image"))
            .map_err(StoreError::Thread)?;
        Ok(Self { chunks: Some(sender), thread })
    }

    fn finish(mut self) -> Result<Signers, VerifyError> {
        self.chunks = None;
        let lost = |_| Err(VerifyError::Read("the verifier ended unexpectedly".to_owned()));
        self.thread.join().unwrap_or_else(lost)
    }
}

/// The verifier's end of the channel.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position >= self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.position) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = self.chunk.get(self.position..).unwrap_or_default().read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

//! Importing an image as its bytes arrive.
//!
//! Responsible for: the threads that decompress, and that hash, check and store, while the caller writes; and the step
//! from a whole image to one that counts. Must not know: where bytes come from. Follows rkt-reference.md 2.9 ("Import").
//!
//! One pass, in memory that does not grow with the image:
//!
//! ```text
//! caller ──write──► pipe ──► decompress ──► pipe ──► SHA-512, file in cas/tmp, entries
//! ```

use std::io::{self, Write};
use std::thread::JoinHandle;

use appc::ImageManifest;

use super::decompress::decompressed;
use super::import::{MAX_IMAGE_BYTES, Unpacked, unpack};
use super::pipe::{Cancellation, PipeWriter, pipe};
use super::temporary::TemporaryFile;
use super::{ImageStore, Import, Key, StoreError};
use crate::fault;

/// An image on its way into the store. Dropping it, or what comes of it, leaves nothing behind.
pub struct ImportStream<'s> {
    store: &'s ImageStore,
    import: Import,
    work: Option<Work>,
    /// Why the threads stopped, until somebody asks.
    failure: Option<StoreError>,
    cancellation: Cancellation,
}

struct Work {
    input: PipeWriter,
    blob: TemporaryFile,
    decompressor: JoinHandle<()>,
    unpacker: JoinHandle<Result<Unpacked, StoreError>>,
}

impl Work {
    fn start(blob: TemporaryFile, cancellation: &Cancellation) -> Result<Self, StoreError> {
        let (input, compressed) = pipe(cancellation);
        let (uncompressed, tar) = pipe(cancellation);
        let file = blob.file().try_clone().map_err(StoreError::file("open", blob.path()))?;
        let path = blob.path().to_owned();
        let decompressor = std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn(move || uncompressed.finish_with(decompressed(compressed)))
            .map_err(StoreError::Thread)?;
        let unpacker = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || unpack(tar, &file, &path, MAX_IMAGE_BYTES))
            .map_err(StoreError::Thread)?;
        Ok(Self { input, blob, decompressor, unpacker })
    }

    /// Ends the input and waits for the threads.
    fn finish(self) -> Result<(TemporaryFile, Unpacked), StoreError> {
        // If it cannot be ended, the threads have stopped, and the one behind says why.
        let _ = self.input.finish();
        join(self.decompressor, self.unpacker).map(|unpacked| (self.blob, unpacked))
    }

    /// Waits for the threads without an end to the input: they stop with an error.
    fn abandon(self) -> Option<StoreError> {
        drop(self.input);
        join(self.decompressor, self.unpacker).err()
    }
}

fn join(
    decompressor: JoinHandle<()>,
    unpacker: JoinHandle<Result<Unpacked, StoreError>>,
) -> Result<Unpacked, StoreError> {
    let lost = |_| StoreError::Thread(io::Error::other("it ended unexpectedly"));
    let unpacked = unpacker.join().map_err(lost);
    decompressor.join().map_err(lost)?;
    unpacked?
}

impl<'s> ImportStream<'s> {
    pub(super) fn begin(store: &'s ImageStore, import: &Import) -> Result<Self, StoreError> {
        let cancellation = Cancellation::default();
        let work = Work::start(store.temporary_file()?, &cancellation)?;
        Ok(Self { store, import: *import, work: Some(work), failure: None, cancellation })
    }

    /// Ends the image and waits until all of it is hashed, checked and written. Errors: the first that happened in any
    /// of the stages; after a failed write, the reason for that.
    pub fn finish(mut self) -> Result<PendingImage<'s>, StoreError> {
        match (self.work.take(), self.failure.take()) {
            (Some(work), _) => {
                let (blob, unpacked) = work.finish()?;
                fault::point("import.unpacked");
                Ok(PendingImage { store: self.store, import: self.import, blob, unpacked })
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(StoreError::Thread(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Write for ImportStream<'_> {
    /// Fails when any stage failed; [`ImportStream::finish`] then says how.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stopped = io::ErrorKind::BrokenPipe;
        let result = self.work.as_mut().map_or_else(|| Err(stopped.into()), |work| work.input.write(bytes));
        if result.is_err()
            && let Some(work) = self.work.take()
        {
            self.failure = work.abandon();
        }
        result.map_err(|e| match &self.failure {
            Some(failure) => io::Error::new(stopped, failure.to_string()),
            None => e,
        })
    }

    /// Does not wait for the stages behind.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ImportStream<'_> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.cancellation.cancel();
            // The file is removed when its writer has stopped, not before.
            drop(work.abandon());
        }
    }
}

/// A whole image that nobody finds yet. Dropping it discards it.
pub struct PendingImage<'s> {
    store: &'s ImageStore,
    import: Import,
    blob: TemporaryFile,
    unpacked: Unpacked,
}

impl PendingImage<'_> {
    /// Its manifest.
    pub fn manifest(&self) -> &ImageManifest {
        &self.unpacked.manifest
    }

    /// Makes it count. When this returns, it will be there after a power cut too.
    pub fn commit(self) -> Result<Key, StoreError> {
        self.store.keep(self.blob, self.unpacked, &self.import, Vec::new())
    }
}

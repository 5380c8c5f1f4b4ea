//! Bytes that are checked against their descriptor while they stream.
//!
//! Responsible for: ending with an error unless size and digest are those announced. Must not know: where the bytes come
//! from, what is done with them. Follows the OCI image specification 1.1, descriptor.md ("Verification").

use std::fmt;
use std::io::{self, Read};

use super::{Descriptor, Digest, Hasher, OciError};

/// A reader that ends after the announced number of bytes with the announced digest, or fails.
pub struct Checked<'a> {
    source: Box<dyn Read + Send + 'a>,
    what: String,
    digest: Digest,
    size: u64,
    read: u64,
    hasher: Option<Hasher>,
    failure: Option<OciError>,
}

impl fmt::Debug for Checked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("digest", &self.digest)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl<'a> Checked<'a> {
    /// Checks `source` against `descriptor`; `what` names it in errors.
    pub fn new(source: impl Read + Send + 'a, descriptor: &Descriptor, what: impl Into<String>) -> Self {
        Self {
            source: Box::new(source),
            what: what.into(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            read: 0,
            hasher: Some(descriptor.digest.hasher()),
            failure: None,
        }
    }

    /// Reads what is left, so that everything has been checked.
    pub fn finish(mut self) -> Result<(), OciError> {
        match io::copy(&mut self, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(e) => Err(self
                .failure
                .take()
                .unwrap_or_else(|| OciError::Broken { what: self.what.clone(), reason: e.to_string() })),
        }
    }

    /// Whether the bytes are at fault, if that can be told by reading no more than `limit` of those that are left.
    pub fn fault(mut self, limit: u64) -> Option<OciError> {
        if self.failure.is_none() && self.size.saturating_sub(self.read) <= limit {
            // What went wrong is kept.
            let _ = io::copy(&mut self, &mut io::sink());
        }
        self.failure
    }

    fn fail(&mut self, error: OciError) -> io::Error {
        let text = error.to_string();
        self.failure = Some(error);
        io::Error::other(text)
    }

    fn check_end(&mut self) -> io::Result<()> {
        let wrong_size = |found| OciError::WrongSize { what: self.what.clone(), expected: self.size, found };
        if self.read != self.size {
            let error = wrong_size(self.read);
            return Err(self.fail(error));
        }
        if let Some(found) = self.hasher.take().map(Hasher::finish)
            && found != self.digest
        {
            let (what, expected) = (self.what.clone(), self.digest.clone());
            return Err(self.fail(OciError::WrongDigest { what, expected, found }));
        }
        Ok(())
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match self.source.read(buffer) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => {
                let broken =
                    |e: io::Error| OciError::Broken { what: self.what.clone(), reason: e.to_string() };
                let error = e.downcast::<OciError>().unwrap_or_else(broken);
                return Err(self.fail(error));
            }
        };
        self.read = self.read.saturating_add(count as u64);
        if self.read > self.size {
            let (what, expected, found) = (self.what.clone(), self.size, self.read);
            return Err(self.fail(OciError::WrongSize { what, expected, found }));
        }
        if count == 0 {
            self.check_end()?;
        } else if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

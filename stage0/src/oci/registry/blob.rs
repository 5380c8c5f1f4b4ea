//! A blob's bytes, over as many connections as it takes.
//!
//! Responsible for: going on where a connection broke. Must not know: what the bytes are; who reads them checks digest and
//! size. Follows the OCI distribution specification 1.1 ("Pulling blobs") and RFC 9110, 14 (Range).

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use super::Registry;
use crate::image::HttpBody;
use crate::oci::{Descriptor, OciError};

/// Broken connections for one blob until it is given up.
const MAX_RESUMPTIONS: u32 = 5;
/// Pause before a connection is made again; the client pauses longer if that fails.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads a blob of a registry.
pub(super) struct BlobReader<'r> {
    registry: &'r Registry<'r>,
    descriptor: Descriptor,
    what: String,
    body: HttpBody,
    position: u64,
    resumptions: u32,
}

impl<'r> BlobReader<'r> {
    /// Asks for the blob.
    pub fn open(registry: &'r Registry<'r>, descriptor: &Descriptor, what: &str) -> Result<Self, OciError> {
        let body = open(registry, descriptor, what, 0)?;
        let (descriptor, what) = (descriptor.clone(), what.to_owned());
        Ok(Self { registry, descriptor, what, body, position: 0, resumptions: 0 })
    }

    fn resume(&mut self, error: io::Error) -> io::Result<()> {
        let why = self.body.error(error);
        if self.resumptions >= MAX_RESUMPTIONS {
            let (what, reason) = (self.what.clone(), why.to_string());
            return Err(io::Error::other(OciError::Broken { what, reason }));
        }
        self.resumptions += 1;
        self.registry.log.debug(format_args!("{} broke off at byte {} ({why})", self.what, self.position));
        thread::sleep(PAUSE);
        self.body =
            open(self.registry, &self.descriptor, &self.what, self.position).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.body.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
                Err(e) => self.resume(e)?,
                // A server that did not tell the length may break off like this.
                Ok(0) if self.position < self.descriptor.size && !buffer.is_empty() => {
                    self.resume(io::ErrorKind::UnexpectedEof.into())?;
                }
                Ok(count) => {
                    self.position = self.position.saturating_add(count as u64);
                    return Ok(count);
                }
            }
        }
    }
}

/// The blob's bytes from `position` on.
fn open(
    registry: &Registry<'_>,
    descriptor: &Descriptor,
    what: &str,
    position: u64,
) -> Result<HttpBody, OciError> {
    let range = format!("bytes={position}-");
    let headers: &[(&str, &str)] = if position == 0 { &[] } else { &[("Range", &range)] };
    let answer = registry.get(&format!("blobs/{}", descriptor.digest), headers, what)?;
    let answer = answer.ok_or_else(|| OciError::Missing {
        what: format!("{what} of registry {}", registry.reference.host()),
    })?;
    let is_part = answer.status == 206;
    let goes_on = answer.header("content-range").is_some_and(|range| {
        range.strip_prefix("bytes ").is_some_and(|range| range.starts_with(&format!("{position}-")))
    });
    if is_part && !goes_on {
        return Err(registry.failed(what, "it sends another part than it was asked for"));
    }
    let expected = if is_part { descriptor.size.saturating_sub(position) } else { descriptor.size };
    let broken =
        |e: crate::image::HttpError| OciError::Broken { what: what.to_owned(), reason: e.to_string() };
    let announced = answer.length();
    if let Some(found) = announced.filter(|found| *found != expected) {
        let what = what.to_owned();
        return Err(OciError::WrongSize {
            what,
            expected: descriptor.size,
            found: found.saturating_add(descriptor.size - expected),
        });
    }
    // Whoever checks the bytes against their descriptor stops where there are too many.
    let mut body = answer.into_body(u64::MAX).map_err(broken)?;
    if position > 0 && !is_part {
        // A server that knows no ranges sends everything again.
        let skipped = io::copy(&mut (&mut body).take(position), &mut io::sink());
        skipped.map_err(|e| broken(body.error(e)))?;
    }
    Ok(body)
}

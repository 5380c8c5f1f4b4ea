//! Downloading an image: all of it, the rest of it, or nothing because the one that is here is current.
//!
//! Responsible for: the conversation with the server about versions and ranges. Must not know: what becomes of the bytes.
//! Follows rkt-reference.md 3.4 and RFC 9110, sections 13 (conditional requests) and 14 (ranges).

use std::io::{self, Read};

use url::Url;

use super::ImageError;
use super::cache_control::max_age;
use super::http::{Body, HttpClient, HttpError, Response, backoff};
use super::partial::{MAX_VALIDATOR_BYTES, Partial};
use super::progress::Progress;
use crate::log::Log;

/// Largest download; the store's own limit is on the uncompressed image.
const MAX_DOWNLOAD_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// How often a connection may break in one download before it fails. What arrived is kept for the next command anyway.
const MAX_INTERRUPTIONS: u32 = 3;
const BUFFER_BYTES: usize = 128 * 1024;

/// Where an image is downloaded from.
#[derive(Clone, Copy)]
pub(super) struct Download<'a> {
    pub client: &'a HttpClient,
    pub url: &'a Url,
    /// `ETag` of the image that is in the store; empty if there is none.
    pub etag: &'a str,
    pub progress: &'a Progress,
    pub log: Log,
}

/// How a download ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it was handed on.
    Complete(Freshness),
    /// The image in the store is current.
    NotModified(Freshness),
}

/// What the server said about the image besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Freshness {
    /// `ETag`, or empty.
    pub etag: String,
    /// Seconds for which the server need not be asked again.
    pub max_age: u64,
}

impl Freshness {
    fn of(response: &Response) -> Self {
        let etag = response.header("etag").filter(|etag| etag.len() <= MAX_VALIDATOR_BYTES);
        Self { etag: etag.unwrap_or_default().to_owned(), max_age: max_age(response.header("cache-control")) }
    }
}

/// A body, and which bytes of the whole it has.
struct Part {
    body: Body,
    /// Where in the whole it begins.
    offset: u64,
    /// Length of the whole, where the server told it.
    total: Option<u64>,
}

impl Download<'_> {
    /// Downloads into `partial`, and hands every byte to `sink` in order, those of an earlier attempt first. Whatever fails
    /// but the connection leaves nothing to continue.
    pub fn run(
        &self,
        partial: &mut Partial,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<Outcome, ImageError> {
        let (response, offset) = self.start(partial).map_err(|cause| {
            // Nothing is known against what is there.
            partial.keep();
            self.failed(cause)
        })?;
        let freshness = Freshness::of(&response);
        match response.status {
            200 | 206 => {}
            304 if !self.etag.is_empty() => return Ok(Outcome::NotModified(freshness)),
            status => {
                partial.keep();
                return Err(self.failed(HttpError::Status(status)));
            }
        }
        if offset == 0 {
            partial.restart(validator(&response))?;
        }
        let mut part = part(response, offset).map_err(|cause| self.failed(cause))?;
        let bar = self.progress.bar("Downloading ACI", part.total);
        let path = partial.path().to_owned();
        let earlier = copy(&mut partial.content()?, |bytes| {
            bar.advance(bytes.len() as u64);
            sink(bytes)
        });
        earlier.map_err(|e| match e {
            Stopped::Source(cause) => ImageError::ReadImage { path, cause },
            Stopped::Sink(error) => error,
        })?;

        let mut interruptions = 0;
        loop {
            let copied = copy(&mut part.body, |bytes| {
                partial.append(bytes)?;
                bar.advance(bytes.len() as u64);
                sink(bytes)
            });
            let cause = match copied {
                Ok(()) => match part.total.filter(|total| *total != partial.length()) {
                    None => break,
                    Some(expected) => HttpError::Truncated { expected, found: partial.length() },
                },
                Err(Stopped::Sink(error)) => return Err(error),
                Err(Stopped::Source(error)) => part.error(error),
            };
            interruptions += 1;
            if matches!(cause, HttpError::TooLarge { .. }) {
                return Err(self.failed(cause));
            }
            let rest = if interruptions <= MAX_INTERRUPTIONS && partial.beginning().is_some() {
                let so_far = partial.length();
                let message = format!("the download was interrupted after {so_far} bytes, going on");
                self.progress.suspend(|| self.log.print(message));
                std::thread::sleep(backoff(interruptions));
                self.rest(partial)
            } else {
                None
            };
            match rest {
                Some(rest) => part = rest,
                None => {
                    partial.keep();
                    return Err(self.failed(cause));
                }
            }
        }
        bar.finish();
        Ok(Outcome::Complete(freshness))
    }

    /// Asks for the image, or the rest of it if there is a beginning. Returns the answer and where in the image its body
    /// begins.
    fn start(&self, partial: &Partial) -> Result<(Response, u64), HttpError> {
        let Some((offset, validator)) = partial.beginning() else { return Ok((self.ask(None)?, 0)) };
        let response = self.ask(Some((offset, validator)))?;
        match response.status {
            206 if continues(&response, offset, validator) => return Ok((response, offset)),
            // The range is of no use, or it is another one, or the server does not understand the request.
            206 | 400 | 412 | 416 => {
                self.log.print("the server does not continue the download, starting over")
            }
            200 => {
                self.log.print("the image changed, or the server does not continue downloads; starting over");
                return Ok((response, 0));
            }
            _ => return Ok((response, 0)),
        }
        Ok((self.ask(None)?, 0))
    }

    /// The rest behind what is there, if the server still has it.
    fn rest(&self, partial: &Partial) -> Option<Part> {
        let (offset, validator) = partial.beginning()?;
        let response = self.ask(Some((offset, validator))).ok()?;
        (response.status == 206 && continues(&response, offset, validator))
            .then(|| part(response, offset).ok())
            .flatten()
    }

    fn ask(&self, from: Option<(u64, &str)>) -> Result<Response, HttpError> {
        let range = from.map(|(offset, _)| format!("bytes={offset}-"));
        let mut headers = Vec::new();
        if !self.etag.is_empty() {
            headers.push(("If-None-Match", self.etag));
        }
        if let (Some(range), Some((_, validator))) = (&range, from) {
            headers.push(("Range", range.as_str()));
            headers.push(("If-Range", validator));
        }
        let response = self.client.get(self.url, &headers)?;
        if from.is_none() && response.status == 206 {
            // Nobody asked for a part.
            return Err(HttpError::Status(206));
        }
        Ok(response)
    }

    fn failed(&self, cause: HttpError) -> ImageError {
        ImageError::Download { what: "image", url: self.url.to_string(), cause }
    }
}

impl Part {
    /// Why reading failed, with the numbers of the whole.
    fn error(&mut self, error: io::Error) -> HttpError {
        match self.body.error(error) {
            HttpError::Truncated { expected, found } => {
                HttpError::Truncated { expected: expected + self.offset, found: found + self.offset }
            }
            other => other,
        }
    }
}

/// Which end of a copy failed.
pub(super) enum Stopped {
    Source(io::Error),
    Sink(ImageError),
}

/// Hands all of `source` to `sink`.
pub(super) fn copy(
    source: &mut impl Read,
    mut sink: impl FnMut(&[u8]) -> Result<(), ImageError>,
) -> Result<(), Stopped> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => sink(buffer.get(..count).unwrap_or_default()).map_err(Stopped::Sink)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Stopped::Source(e)),
        }
    }
}

fn part(response: Response, offset: u64) -> Result<Part, HttpError> {
    let announced = response.header("content-range").and_then(content_range).and_then(|range| range.total);
    let body = response.into_body(MAX_DOWNLOAD_BYTES.saturating_sub(offset))?;
    let total = body.length().map(|length| offset.saturating_add(length)).or(announced);
    Ok(Part { body, offset, total })
}

/// What stands for exactly the bytes of this response: a strong `ETag`, or a date of the last change that is a second
/// and more before the response, in which the image may have changed again (RFC 9110, 8.8.2.2).
fn validator(response: &Response) -> Option<String> {
    let etag = response.header("etag").filter(|etag| etag.starts_with('"'));
    let date = response
        .header("last-modified")
        .filter(|date| response.header("date").is_some_and(|now| now != *date));
    let validator = etag.or(date)?;
    (validator.len() <= MAX_VALIDATOR_BYTES && !validator.is_empty()).then(|| validator.to_owned())
}

/// Whether a partial response begins at `offset` of the version that `expected` stands for.
fn continues(response: &Response, offset: u64, expected: &str) -> bool {
    let range = response.header("content-range").and_then(content_range);
    let name = if expected.starts_with('"') { "etag" } else { "last-modified" };
    range.is_some_and(|range| range.first == offset)
        && response.header(name).is_none_or(|found| found == expected)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub first: u64,
    pub total: Option<u64>,
}

/// `bytes FIRST-LAST/TOTAL`, where the total may be `*` (RFC 9110, 14.4).
pub(crate) fn content_range(header: &str) -> Option<ContentRange> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (first <= last && total.is_none_or(|total| last < total)).then_some(ContentRange { first, total })
}

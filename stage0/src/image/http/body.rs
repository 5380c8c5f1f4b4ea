//! Bodies of responses, bounded.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::HttpError;

/// A body that ends as announced, or fails.
pub struct Body {
    source: Box<dyn Read + Send>,
    length: Option<u64>,
    limit: u64,
    read: u64,
    deadline: Option<(Instant, Duration)>,
    failed: Option<HttpError>,
}

impl Body {
    /// Of `source` no more than `limit` bytes are read, and no fewer than the `length` that was announced.
    pub(super) fn new(
        source: impl Read + Send + 'static,
        length: Option<u64>,
        limit: u64,
    ) -> Result<Self, HttpError> {
        if length.is_some_and(|length| length > limit) {
            return Err(HttpError::TooLarge { limit });
        }
        Ok(Self { source: Box::new(source), length, limit, read: 0, deadline: None, failed: None })
    }

    /// Its length, if the server told it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Gives the whole of it this long to arrive, however steadily it does.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { deadline: Some((Instant::now() + time, time)), ..self }
    }

    /// All of it.
    pub fn read_whole(mut self) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        let read = self.read_to_end(&mut bytes);
        read.map_err(|e| self.error(e))?;
        Ok(bytes)
    }

    /// Why reading failed with `error`.
    pub fn error(&mut self, error: io::Error) -> HttpError {
        self.failed.take().unwrap_or_else(|| HttpError::Transport(error.to_string()))
    }

    fn fail(&mut self, error: HttpError) -> io::Error {
        let text = error.to_string();
        self.failed = Some(error);
        io::Error::other(text)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.source.read(buffer);
        let ended = match &result {
            Ok(count) => *count == 0 && !buffer.is_empty(),
            // A closed connection inside the body; other errors keep their own words.
            Err(e) => matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        };
        if ended && let Some(expected) = self.length.filter(|expected| self.read < *expected) {
            return Err(self.fail(HttpError::Truncated { expected, found: self.read }));
        }
        let count = result?;
        self.read += count as u64;
        if self.read > self.limit {
            return Err(self.fail(HttpError::TooLarge { limit: self.limit }));
        }
        if let Some((_, time)) =
            self.deadline.filter(|(deadline, _)| count > 0 && Instant::now() >= *deadline)
        {
            return Err(self.fail(HttpError::TooSlow { seconds: time.as_secs() }));
        }
        Ok(count)
    }
}

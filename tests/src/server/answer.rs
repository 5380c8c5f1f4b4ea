//! One answer of the server: its status, headers and body, what it does about conditions and ranges, and how it is sent.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How a body is sent.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// As it should be.
    Whole,
    /// The connection closes after this many bytes, although all were announced.
    CutAfter(usize),
    /// After this many bytes nothing more comes, and the connection stays open.
    StallAfter(usize),
    /// The body again and again, and no end announced.
    Endless,
    /// In pieces of `piece` bytes with a pause after each.
    Slow {
        /// Bytes a piece.
        piece: usize,
        /// Pause after each.
        pause: Duration,
    },
}

/// The answer for one path.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Arc<[u8]>,
    delivery: Delivery,
    validator: Option<(&'static str, String)>,
    ranges: Ranges,
    authorization: Option<String>,
    raw: bool,
}

/// What a server does about `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranges {
    /// Nothing: all of the body comes.
    Ignored,
    /// What RFC 9110 says.
    Honoured,
    /// It sends another part than it was asked for.
    Wrong,
    /// It has none to send (416).
    Refused,
}

impl Answer {
    /// 200 with a body.
    pub fn body(body: impl Into<Arc<[u8]>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            delivery: Delivery::Whole,
            validator: None,
            ranges: Ranges::Ignored,
            authorization: None,
            raw: false,
        }
    }

    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::body([]) }
    }

    /// 302 to another URL.
    pub fn redirect(target: &str) -> Self {
        Self::status(302).header("Location", target)
    }

    /// Exactly these bytes, in place of a response.
    pub fn raw(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { raw: true, ..Self::body(bytes) }
    }

    /// With another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// With a further header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another way to send the body.
    #[must_use]
    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Of a version that `etag` stands for: 304 for who has it, ranges for who has a part of it.
    #[must_use]
    pub fn etag(mut self, etag: &str) -> Self {
        self.validator = Some(("ETag", etag.to_owned()));
        self.ranges = Ranges::Honoured;
        self
    }

    /// The same, with the date of the last change in place of an entity tag.
    #[must_use]
    pub fn last_modified(mut self, date: &str) -> Self {
        self.validator = Some(("Last-Modified", date.to_owned()));
        self.ranges = Ranges::Honoured;
        self.header("Date", "Sun, 22 Nov 2026 12:00:00 GMT")
    }

    /// Whatever is asked for, all of it comes.
    #[must_use]
    pub fn ignoring_ranges(mut self) -> Self {
        self.ranges = Ranges::Ignored;
        self
    }

    /// Another part comes than was asked for, and the header says so.
    #[must_use]
    pub fn with_wrong_ranges(mut self) -> Self {
        self.ranges = Ranges::Wrong;
        self
    }

    /// No range is ever satisfied.
    #[must_use]
    pub fn refusing_ranges(mut self) -> Self {
        self.ranges = Ranges::Refused;
        self
    }

    /// For those only whose `Authorization` is this; 401 for everybody else.
    #[must_use]
    pub fn for_bearer_of(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// Answers the request with this head. Returns whether everything was sent that was announced.
    pub(super) fn send(&self, head: &str, stream: &mut impl Write) -> io::Result<bool> {
        if self.raw {
            stream.write_all(&self.body)?;
            stream.flush()?;
            return Ok(true);
        }
        let asked = |name: &str| header(head, name);
        let refused = self.authorization.is_some() && asked("authorization") != self.authorization.as_deref();
        let etag = self.validator.as_ref().filter(|(name, _)| *name == "ETag").map(|(_, etag)| etag.as_str());
        let is_current = etag.is_some() && asked("if-none-match") == etag;
        let status = match (refused, is_current) {
            (true, _) => 401,
            (_, true) => 304,
            _ => self.status,
        };
        let is_body = status == self.status && !head.starts_with("HEAD ");
        let (status, offset, range) = if is_body { self.part(status, head) } else { (status, 0, None) };
        let body = if is_body && status != 416 { self.body.get(offset..).unwrap_or_default() } else { &[] };

        let mut response = format!("HTTP/1.1 {status} -\r\nConnection: close\r\n");
        if !matches!(self.delivery, Delivery::Endless) {
            response.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        response.extend(range.map(|range| format!("Content-Range: {range}\r\n")));
        response.extend(self.validator.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
        for (name, value) in &self.headers {
            response.push_str(&format!("{name}: {value}\r\n"));
        }
        response.push_str("\r\n");
        stream.write_all(response.as_bytes())?;
        let is_whole = self.deliver(body, stream)?;
        stream.flush()?;
        Ok(is_whole)
    }

    /// Status, offset and `Content-Range` for what the head asks for.
    fn part(&self, status: u16, head: &str) -> (u16, usize, Option<String>) {
        let total = self.body.len();
        let first = header(head, "range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let validator = self.validator.as_ref().map(|(_, value)| value.as_str());
        let is_same = header(head, "if-range").is_none_or(|condition| Some(condition) == validator);
        let range = |first: usize| format!("bytes {first}-{}/{total}", total.saturating_sub(1));
        match (self.ranges, first) {
            (Ranges::Ignored, _) | (_, None) => (status, 0, None),
            (Ranges::Refused, Some(_)) => (416, 0, Some(format!("bytes */{total}"))),
            (Ranges::Wrong, Some(first)) => (206, first / 2, Some(range(first / 2))),
            (Ranges::Honoured, Some(first)) if is_same && first < total => (206, first, Some(range(first))),
            (Ranges::Honoured, Some(_)) if is_same => (416, 0, Some(format!("bytes */{total}"))),
            (Ranges::Honoured, Some(_)) => (status, 0, None),
        }
    }

    fn deliver(&self, body: &[u8], stream: &mut impl Write) -> io::Result<bool> {
        match self.delivery {
            Delivery::Whole => stream.write_all(body)?,
            Delivery::CutAfter(length) => {
                stream.write_all(&body[..length.min(body.len())])?;
                return Ok(false);
            }
            Delivery::StallAfter(length) => {
                stream.write_all(&body[..length.min(body.len())])?;
                stream.flush()?;
                loop {
                    thread::park();
                }
            }
            Delivery::Endless => loop {
                stream.write_all(body)?;
            },
            Delivery::Slow { piece, pause } => {
                for piece in body.chunks(piece) {
                    stream.write_all(piece)?;
                    stream.flush()?;
                    thread::sleep(pause);
                }
            }
        }
        Ok(true)
    }
}

/// The value of a header in a request's head.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

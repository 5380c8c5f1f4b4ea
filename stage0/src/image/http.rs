//! HTTP for images, signatures and keys.
//!
//! Responsible for: one client with rkt's rules on redirects, certificates, time and size. Must not know: what is
//! downloaded. Follows rkt-reference.md 3.4.

use std::io::{self, Read};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use super::cache_control::max_age;

/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 10;
/// Largest head of a response. Web servers send a few kilobytes, and refuse to receive more than 8 to 64 themselves.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Longest `ETag` that is kept: it goes back to the server with every later request.
const MAX_ETAG_BYTES: usize = 1024;
/// Time to reach a server (rkt's dial timeout).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the head of a response: storage services may need a while to find a large file.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without a single byte after which a download is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Neither success nor anything that has a meaning here.
    #[error("bad HTTP status code: {0}")]
    Status(u16),
    /// No usable answer: name, connection, certificate, protocol, time.
    #[error("{0}")]
    Transport(String),
    /// The body ended too soon.
    #[error("download is truncated: got {found} of {expected} bytes")]
    Truncated {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// The body is larger than it may be.
    #[error("download is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

/// A client for one command.
#[derive(Debug)]
pub struct HttpClient {
    agent: Agent,
}

/// What a server said.
pub(super) enum Answer {
    /// Here it is.
    Found(Box<Download>),
    /// What you have is current (304).
    NotModified,
    /// Ask again later (202).
    Deferred,
}

/// A body that is about to be read.
pub(super) struct Download {
    pub body: Body,
    /// Its length, if the server told it.
    pub length: Option<u64>,
    /// `ETag`, or empty.
    pub etag: String,
    /// Seconds of freshness.
    pub max_age: u64,
}

impl HttpClient {
    /// Makes a client. Certificates are checked against the host's (or those of `SSL_CERT_FILE`) unless
    /// `skip_certificate_check`.
    pub fn new(skip_certificate_check: bool) -> Self {
        Self::with_schemes(skip_certificate_check, false)
    }

    /// A client that never speaks plain http, wherever a server redirects it to: nothing but the connection vouches for
    /// a key.
    pub fn https_only(skip_certificate_check: bool) -> Self {
        Self::with_schemes(skip_certificate_check, true)
    }

    fn with_schemes(skip_certificate_check: bool, https_only: bool) -> Self {
        select_crypto_provider();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .disable_verification(skip_certificate_check)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(https_only)
            .user_agent(concat!("rkt/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .max_response_header_size(MAX_HEADER_BYTES)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build()
            .new_agent();
        Self { agent }
    }

    /// Asks for `url`; with an `etag`, only if it changed. No more than `limit` bytes of body will be read.
    pub(super) fn get(&self, url: &Url, etag: &str, limit: u64) -> Result<Answer, HttpError> {
        let mut request = self.agent.get(url.as_str());
        if !etag.is_empty() {
            request = request.header("If-None-Match", etag);
        }
        let response = request.call().map_err(transport)?;
        match response.status().as_u16() {
            200 | 206 => {}
            202 => return Ok(Answer::Deferred),
            304 => return Ok(Answer::NotModified),
            status => return Err(HttpError::Status(status)),
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = header("etag").filter(|etag| etag.len() <= MAX_ETAG_BYTES).unwrap_or_default().to_owned();
        let max_age = max_age(header("cache-control"));
        let length = response.body().content_length();
        if length.is_some_and(|length| length > limit) {
            return Err(HttpError::TooLarge { limit });
        }
        let source = response.into_body().into_reader();
        let body = Body { source: Box::new(source), length, limit, read: 0, failed: None };
        Ok(Answer::Found(Box::new(Download { body, length, etag, max_age })))
    }

    /// The whole body at `url`, of at most `limit` bytes.
    pub fn get_small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, HttpError> {
        match self.get(url, "", limit)? {
            Answer::Found(mut download) => {
                let mut content = Vec::new();
                let read = download.body.read_to_end(&mut content);
                read.map_err(|e| download.body.error(e))?;
                Ok(content)
            }
            Answer::Deferred => Err(HttpError::Status(202)),
            Answer::NotModified => Err(HttpError::Status(304)),
        }
    }
}

/// The one place that names a cryptography library for TLS.
fn select_crypto_provider() {
    // Fails only if one was selected before, which is then this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn transport(error: ureq::Error) -> HttpError {
    HttpError::Transport(error.to_string())
}

/// A body that ends as announced, or fails.
pub(super) struct Body {
    source: Box<dyn Read + Send>,
    length: Option<u64>,
    limit: u64,
    read: u64,
    failed: Option<HttpError>,
}

impl Body {
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
        Ok(count)
    }
}

//! HTTP for images, signatures, keys and discovery.
//!
//! Responsible for: one client with rkt's rules on redirects, credentials, certificates, proxies, retries, time and size.
//! Must not know: what is downloaded. Follows rkt-reference.md 3.4 and RFC 9110.

mod body;
mod error;
mod proxy;
mod retry;

#[cfg(test)]
mod client_test;
#[cfg(test)]
mod proxy_test;
#[cfg(test)]
mod retry_test;

use std::fmt;
use std::time::Duration;

use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

pub use body::Body;
pub use error::HttpError;

use self::proxy::Proxies;
use crate::config::AuthConfig;
use crate::log::{Log, render};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Largest head of a response. Web servers send a few kilobytes, and refuse to receive more than 8 to 64 themselves.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Time to reach a server (rkt's dial timeout).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for the head of a response: storage services may need a while to find a large file.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without a single byte after which a download is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the whole of an answer that is kept in memory: a manifest of 4 MiB arrives in it at 35 KB/s. Without it a server
/// that sends a byte a minute would keep a command for years.
const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Which schemes may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schemes {
    /// https, wherever a server redirects to.
    HttpsOnly,
    /// http where the user asked for it, but never after https.
    NoDowngrade,
    /// Both.
    Any,
}

/// A client for one command.
#[derive(Clone)]
pub struct HttpClient {
    direct: Agent,
    /// Agents behind proxies, by the scheme of what they are asked for.
    http_proxy: Option<Result<Agent, HttpError>>,
    https_proxy: Option<Result<Agent, HttpError>>,
    proxies: Proxies,
    schemes: Schemes,
    attempts: u32,
    credentials: AuthConfig,
    log: Log,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

/// What a server answered, redirects and retries behind it.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Who answered.
    pub url: Url,
    /// Whether nothing but https led to the answer: where it did not, anybody on the way may have chosen who answers.
    pub all_https: bool,
    headers: HeaderMap,
    body: ureq::Body,
}

impl Response {
    fn new(url: &Url, response: ureq::http::Response<ureq::Body>) -> Self {
        let status = response.status().as_u16();
        let (parts, body) = response.into_parts();
        let all_https = url.scheme() == "https";
        Self { status, url: url.clone(), all_https, headers: parts.headers, body }
    }

    /// A header that is there once and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Every value of a header that is text.
    pub fn all_headers<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }

    /// Bytes of the body, if the server told it.
    pub fn length(&self) -> Option<u64> {
        self.body.content_length()
    }

    /// The body, if the server does not announce more than `limit` bytes. More will not be read.
    pub fn into_body(self, limit: u64) -> Result<Body, HttpError> {
        let length = self.body.content_length();
        Body::new(self.body.into_reader(), length, limit)
    }

    /// The same for an answer that is read at once or not at all.
    pub fn into_small_body(self, limit: u64) -> Result<Body, HttpError> {
        Ok(self.into_body(limit)?.within(SMALL_BODY_TIMEOUT))
    }
}

impl HttpClient {
    /// Makes a client. Certificates are checked against the host's (or those of `SSL_CERT_FILE`) unless
    /// `skip_certificate_check`.
    pub fn new(skip_certificate_check: bool) -> Self {
        Self::with(skip_certificate_check, Schemes::NoDowngrade, Proxies::from_environment())
    }

    /// A client that never speaks plain http, wherever a server redirects it to: nothing but the connection vouches for
    /// a key.
    pub fn https_only(skip_certificate_check: bool) -> Self {
        Self::with(skip_certificate_check, Schemes::HttpsOnly, Proxies::from_environment())
    }

    fn with(skip_certificate_check: bool, schemes: Schemes, proxies: Proxies) -> Self {
        select_crypto_provider();
        let agent = |proxy| agent(skip_certificate_check, proxy);
        let behind = |variable, proxy: &Option<String>| {
            let proxy = proxy.as_ref()?;
            let parsed = ureq::Proxy::new(proxy).map_err(|e| HttpError::Proxy {
                variable,
                proxy: without_credentials(proxy),
                reason: e.to_string(),
            });
            Some(parsed.map(|proxy| agent(Some(proxy))))
        };
        Self {
            direct: agent(None),
            http_proxy: behind(proxy::HTTP, &proxies.http),
            https_proxy: behind(proxy::HTTPS, &proxies.https),
            proxies,
            schemes,
            attempts: retry::MAX_ATTEMPTS,
            credentials: AuthConfig::default(),
            log: Log::new("image", false),
        }
    }

    /// Follows redirects from https to http, too.
    #[must_use]
    pub fn downgrading(self) -> Self {
        Self { schemes: Schemes::Any, ..self }
    }

    /// Speaks https only, from now on.
    #[must_use]
    pub fn without_http(self) -> Self {
        Self { schemes: Schemes::HttpsOnly, ..self }
    }

    /// Sends the configured credentials to the hosts that they are for, over https only.
    #[must_use]
    pub fn with_credentials(self, credentials: AuthConfig) -> Self {
        Self { credentials, ..self }
    }

    /// Asks a server so often before it gives up.
    #[must_use]
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Speaks of retries under another name than `image`.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log, ..self }
    }

    /// Asks `url`, and whoever it redirects to, as often as it is worth it. The answer may have any status. An
    /// `Authorization` among `headers` goes to the host of `url` only.
    pub fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, HttpError> {
        let mut asked = vec![url.clone()];
        let mut next = url.clone();
        let mut all_https = true;
        loop {
            self.check_scheme(&next)?;
            let is_first_host = next.origin() == url.origin();
            let mut all: Vec<(&str, &str)> = headers.to_vec();
            all.retain(|(name, _)| is_first_host || !name.eq_ignore_ascii_case("authorization"));
            let mut response = self.ask(&next, &all)?;
            all_https &= response.all_https;
            response.all_https = all_https;
            let location = response.header("location").filter(|_| is_redirect(response.status));
            let Some(location) = location else { return Ok(response) };
            let target = self.target(&next, location)?;
            if asked.contains(&target) {
                return Err(refused(&next, target.as_str(), "it is a loop"));
            }
            if asked.len() > MAX_REDIRECTS {
                return Err(HttpError::TooManyRedirects(MAX_REDIRECTS));
            }
            asked.push(target.clone());
            next = target;
        }
    }

    /// The whole body at `url`, of at most `limit` bytes.
    pub fn get_small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, HttpError> {
        let response = self.get(url, &[])?;
        if response.status != 200 {
            return Err(HttpError::Status(response.status));
        }
        response.into_small_body(limit)?.read_whole()
    }

    /// Posts a form to `url` and to nobody it redirects to: forms carry secrets.
    pub fn post_form(&self, url: &Url, fields: &[(&str, &str)]) -> Result<Response, HttpError> {
        self.check_scheme(url)?;
        let sent = self.agent(url)?.post(url.as_str()).send_form(fields.iter().copied());
        let response = sent.map_err(|e| HttpError::transport(&e))?;
        Ok(Response::new(url, response))
    }

    /// One hop, with retries.
    fn ask(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, HttpError> {
        let agent = self.agent(url)?;
        for attempt in 1.. {
            let mut request = agent.get(url.as_str());
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            // Anew for every attempt: a signature holds for a few minutes from its date.
            for (name, value) in self.credentials_for(url)? {
                request = request.header(name, value);
            }
            let is_last = attempt >= self.attempts;
            let (problem, pause) = match request.call() {
                Ok(response) => {
                    let response = Response::new(url, response);
                    let status = response.status;
                    if is_last || !retry::is_transient(status) {
                        return Ok(response);
                    }
                    let Some(pause) = retry::pause(attempt, response.header("retry-after")) else {
                        return Ok(response);
                    };
                    (format!("answered {status}"), pause)
                }
                Err(e) if !is_last && retry::is_worth_another_try(&e) => {
                    let why = HttpError::transport(&e);
                    (format!("cannot be asked ({why})"), retry::pause(attempt, None).unwrap_or_default())
                }
                Err(e) => return Err(HttpError::transport(&e)),
            };
            self.log.print(format_args!(
                "{} {problem}, trying again in {:.1} s (attempt {} of {})",
                host_of(url),
                pause.as_secs_f64(),
                attempt + 1,
                self.attempts,
            ));
            std::thread::sleep(pause);
        }
        Err(HttpError::Transport("no attempt was made".to_owned()))
    }

    fn agent(&self, url: &Url) -> Result<&Agent, HttpError> {
        let behind = if url.scheme() == "https" { &self.https_proxy } else { &self.http_proxy };
        match behind {
            Some(agent) if !self.proxies.is_direct(url) => agent.as_ref().map_err(Clone::clone),
            _ => Ok(&self.direct),
        }
    }

    fn credentials_for(&self, url: &Url) -> Result<Vec<(String, String)>, HttpError> {
        self.credentials
            .headers("GET", url)
            .map_err(|e| HttpError::Credentials { host: host_of(url), reason: render(&e, false) })
    }

    fn check_scheme(&self, url: &Url) -> Result<(), HttpError> {
        if self.schemes == Schemes::HttpsOnly && url.scheme() != "https" {
            return Err(HttpError::NotHttps { url: url.to_string() });
        }
        Ok(())
    }

    /// Where a redirect leads, if it may be followed.
    fn target(&self, from: &Url, location: &str) -> Result<Url, HttpError> {
        let mut target = from.join(location).map_err(|_| refused(from, location, "it is no URL"))?;
        let reason = match (from.scheme(), target.scheme()) {
            (_, "https") | ("http", "http") => None,
            ("https", "http") if self.schemes == Schemes::Any => None,
            ("https", "http") if self.schemes == Schemes::NoDowngrade => {
                Some("it leads from https to http (try --insecure-options=http)")
            }
            ("https", "http") => Some("it leads from https to http"),
            _ => Some("its scheme is neither http nor https"),
        };
        if let Some(reason) = reason {
            return Err(refused(from, target.as_str(), reason));
        }
        // Nobody but the user names users.
        let _ = target.set_username("").and_then(|()| target.set_password(None));
        target.set_fragment(None);
        Ok(target)
    }
}

fn agent(skip_certificate_check: bool, proxy: Option<ureq::Proxy>) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .disable_verification(skip_certificate_check)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(concat!("rkt/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        // Redirects are followed here, where credentials and schemes are known.
        .max_redirects(0)
        .max_response_header_size(MAX_HEADER_BYTES)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .build()
        .new_agent()
}

/// How long to wait before going on with a download that was interrupted for the `count`th time.
pub(super) fn backoff(count: u32) -> Duration {
    retry::pause(count, None).unwrap_or_default()
}

/// The one place that names a cryptography library for TLS.
fn select_crypto_provider() {
    // Fails only if one was selected before, which is then this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

fn refused(from: &Url, to: &str, reason: &'static str) -> HttpError {
    HttpError::Redirect { from: from.to_string(), to: to.to_owned(), reason }
}

/// `HOST[:PORT]`, as a user would name the server.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What may be shown of a proxy.
fn without_credentials(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((_, host)) => host.to_owned(),
        None => proxy.to_owned(),
    }
}

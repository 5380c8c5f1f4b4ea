//! Proving to a registry who asks.
//!
//! Responsible for: answering challenges with basic credentials or a token, and keeping the answer for later requests.
//! Must not know: manifests, blobs. Follows RFC 7617 and distribution's token authentication specification (`token.md`,
//! `oauth.md`).

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::DockerCredential;
use serde::Deserialize;
use url::{Host, Url};

use super::challenge::Challenge;
use super::credentials::{self, Found};
use super::status;
use crate::config::Configuration;
use crate::image::{HttpBody, HttpClient, HttpError, HttpResponse};
use crate::log::Log;
use crate::oci::{DockerReference, OciError, decode};

/// Largest answer of a token server; a token with many claims has a few kilobytes.
const MAX_TOKEN_ANSWER_BYTES: u64 = 256 * 1024;
/// Longest token: it goes back in a header with every request, and servers take 8 to 64 KiB of these.
const MAX_TOKEN_BYTES: usize = 48 * 1024;

/// Who asks, as far as one repository of a registry wants to know.
pub(super) struct Authorization<'a> {
    client: HttpClient,
    reference: &'a DockerReference,
    configuration: &'a Configuration,
    log: Log,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Value of the header `Authorization`.
    header: Option<String>,
    /// What was found when it was first looked for.
    found: Option<Option<Found>>,
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl<'a> Authorization<'a> {
    pub fn new(
        client: HttpClient,
        reference: &'a DockerReference,
        configuration: &'a Configuration,
        log: Log,
    ) -> Self {
        Self { client, reference, configuration, log, state: Mutex::default() }
    }

    /// The header for the next request, if one is known to be wanted.
    pub fn header(&self) -> Option<String> {
        self.state().header.clone()
    }

    /// Who the registry believes to talk to, for messages.
    pub fn identity(&self) -> Option<String> {
        identity(self.state().found.as_ref()?.as_ref()?)
    }

    /// A header that answers the challenges of `url` to a request that had the header `used`.
    pub fn answer(
        &self,
        challenges: &[Challenge],
        url: &Url,
        used: Option<&str>,
    ) -> Result<String, OciError> {
        let mut state = self.state();
        if let Some(header) = state.header.as_deref().filter(|header| Some(*header) != used) {
            // Another thread was faster.
            return Ok(header.to_owned());
        }
        if state.found.is_none() {
            state.found = Some(credentials::find(self.reference, self.configuration)?);
        }
        let found = state.found.as_ref().and_then(Option::as_ref);
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        let header = match bearer {
            Some(challenge) => format!("Bearer {}", self.token(challenge, url, found)?),
            None if basic => self.basic(url, used, found)?,
            None => return Err(self.failed("it asks for credentials in a way that rkt does not know")),
        };
        state.header = Some(header.clone());
        Ok(header)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: impl Into<String>) -> OciError {
        OciError::Registry {
            registry: self.reference.host().to_owned(),
            what: format!("image {}", self.reference.typed()),
            reason: reason.into(),
        }
    }

    fn basic(&self, url: &Url, used: Option<&str>, found: Option<&Found>) -> Result<String, OciError> {
        let Some(found) = found else {
            return Err(self.failed(status::no_credentials(self.reference.host())));
        };
        if used.is_some() {
            return Err(self.failed(status::bad_credentials(identity(found).as_deref())));
        }
        self.check_privacy(url)?;
        match &found.credentials {
            DockerCredential::UsernamePassword(user, password) => Ok(basic_header(user, password)),
            DockerCredential::IdentityToken(_) => Err(self.failed(format!(
                "it asks for user and password, but {} has an identity token",
                found.source
            ))),
        }
    }

    /// A token for pulling from this repository. The scope is ours: what else a registry might ask for, rkt does not need.
    fn token(&self, challenge: &Challenge, url: &Url, found: Option<&Found>) -> Result<String, OciError> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let mut realm: Url = realm
            .parse()
            .map_err(|_| self.failed(format!("it asks for a token of {realm:?}, which is no URL")))?;
        let is_http = realm.scheme() == "http";
        if !(realm.scheme() == "https" || is_http && url.scheme() == "http") {
            return Err(self.failed(format!("it asks for a token of {realm}, which is not https")));
        }
        let service = challenge.parameter("service").unwrap_or_default().to_owned();
        let scope = format!("repository:{}:pull", self.reference.repository());
        self.log
            .debug(format_args!("asking {} for a token for {scope}", realm.host_str().unwrap_or_default()));
        let answer = match found.map(|found| &found.credentials) {
            Some(DockerCredential::IdentityToken(token)) => {
                self.check_privacy(url)?;
                self.check_privacy(&realm)?;
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("service", service.as_str()),
                    ("scope", scope.as_str()),
                    ("client_id", "rkt"),
                    ("refresh_token", token.as_str()),
                ];
                self.client.post_form(&realm, &fields)
            }
            credentials => {
                let mut query = realm.query_pairs_mut();
                if !service.is_empty() {
                    query.append_pair("service", &service);
                }
                query.append_pair("scope", &scope);
                drop(query);
                let header = match credentials {
                    Some(DockerCredential::UsernamePassword(user, password)) => {
                        self.check_privacy(url)?;
                        self.check_privacy(&realm)?;
                        Some(basic_header(user, password))
                    }
                    _ => None,
                };
                let headers: Vec<(&str, &str)> =
                    header.iter().map(|header| ("Authorization", header.as_str())).collect();
                self.client.get(&realm, &headers)
            }
        };
        self.read_token(&realm, answer, found)
    }

    fn read_token(
        &self,
        realm: &Url,
        answer: Result<HttpResponse, HttpError>,
        found: Option<&Found>,
    ) -> Result<String, OciError> {
        let server = format!("its token server {}", realm.host_str().unwrap_or_default());
        let answer = answer.map_err(|e| self.failed(format!("{server} cannot be asked: {e}")))?;
        match (answer.status, found) {
            (200, _) => {}
            (401 | 403, Some(found)) => {
                return Err(self.failed(status::bad_credentials(identity(found).as_deref())));
            }
            (401 | 403, None) => return Err(self.failed(status::no_credentials(self.reference.host()))),
            (status, _) => return Err(self.failed(format!("{server} answers with status {status}"))),
        }
        let body = answer
            .into_small_body(MAX_TOKEN_ANSWER_BYTES)
            .and_then(HttpBody::read_whole)
            .map_err(|e| self.failed(format!("the answer of {server} cannot be read: {e}")))?;
        let answer: TokenAnswer = decode(&format!("answer of {server}"), &body, MAX_TOKEN_ANSWER_BYTES)?;
        let token =
            answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
        let is_clean = token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !is_clean {
            return Err(self.failed(format!("{server} answers with no usable token")));
        }
        Ok(token)
    }

    /// Credentials do not cross a network that anybody can listen to, even if images may; nor does what was said there
    /// decide who gets them.
    fn check_privacy(&self, url: &Url) -> Result<(), OciError> {
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        };
        if url.scheme() == "https" || is_loopback {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        Err(self
            .failed(format!("{host} asks for credentials over plain http, and rkt sends none without TLS")))
    }
}

fn identity(found: &Found) -> Option<String> {
    let source = &found.source;
    Some(match &found.credentials {
        DockerCredential::UsernamePassword(user, _) => format!("user {user:?} (from {source})"),
        DockerCredential::IdentityToken(_) => format!("the identity token from {source}"),
    })
}

fn basic_header(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

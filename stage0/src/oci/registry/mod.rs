//! A repository of a registry that speaks the distribution protocol.
//!
//! Responsible for: the requests, and judging their answers. Must not know: what images are made of, stores. Follows the
//! OCI distribution specification 1.1 and Docker Registry HTTP API V2. Connections, redirects and retries are
//! `image::HttpClient`'s; `authorization` proves who asks, `blob` goes on after a broken connection.

mod authorization;
mod blob;
mod challenge;
mod credentials;
mod status;

#[cfg(test)]
mod authorization_test;
#[cfg(test)]
mod challenge_test;
#[cfg(test)]
mod credentials_test;

use url::Url;

use self::authorization::Authorization;
use self::blob::BlobReader;
pub(crate) use self::challenge::Challenge;
use super::types::media_type;
use super::{
    Checked, Descriptor, Digest, DockerReference, Document, LayerSource, MAX_MANIFEST_BYTES, OciError,
    RawManifest, Repository,
};
use crate::config::Configuration;
use crate::image::{FetchOptions, HttpBody, HttpClient, HttpError, HttpResponse};
use crate::log::Log;

/// What a manifest may be.
const ACCEPT: [&str; 4] =
    [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];

/// A repository of a registry.
pub struct Registry<'a> {
    client: HttpClient,
    /// `https://HOST/v2/REPOSITORY/`.
    base: Url,
    reference: &'a DockerReference,
    authorization: Authorization<'a>,
    log: Log,
}

impl<'a> Registry<'a> {
    /// The repository of `reference`. Plain http is spoken only if the options allow it and the registry does not speak
    /// https.
    pub fn connect(
        reference: &'a DockerReference,
        configuration: &'a Configuration,
        options: &FetchOptions,
    ) -> Result<Self, OciError> {
        let log = Log::new("image", options.debug);
        let client = HttpClient::new(options.insecure.skip_tls_check()).with_log(log);
        let allow_http = options.insecure.allow_http();
        let client = if allow_http { client.downgrading() } else { client };
        let speaks_https = || {
            let ping = url(reference, "https", "")?;
            Ok(client.clone().with_attempts(1).get(&ping, &[]).is_ok())
        };
        let scheme = if allow_http && !speaks_https()? { "http" } else { "https" };
        if scheme == "http" {
            log.debug(format_args!("registry {} is asked over plain http", reference.host()));
        }
        let base = url(reference, scheme, &format!("{}/", reference.repository()))?;
        let authorization = Authorization::new(client.clone(), reference, configuration, log);
        Ok(Self { client, base, reference, authorization, log })
    }

    /// Asks for a path of the repository; `None` if it is not there.
    fn get(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        what: &str,
    ) -> Result<Option<HttpResponse>, OciError> {
        let url = self.base.join(path).map_err(|e| self.failed(what, e.to_string()))?;
        let mut authorization = self.authorization.header();
        for is_last in [false, true] {
            let mut all = headers.to_vec();
            all.extend(authorization.iter().map(|value| ("Authorization", value.as_str())));
            self.log.debug(format_args!("GET {url}"));
            let answer = self.client.get(&url, &all).map_err(|e| self.unreachable(what, &e))?;
            match answer.status {
                200 | 206 => return Ok(Some(answer)),
                404 => return Ok(None),
                // Nobody but the registry itself is told who asks.
                401 if !is_last && answer.url.origin() == self.base.origin() => {
                    let challenges: Vec<Challenge> =
                        answer.all_headers("www-authenticate").flat_map(Challenge::parse_all).collect();
                    drop(answer);
                    let used = authorization.as_deref();
                    authorization = Some(self.authorization.answer(&challenges, &self.base, used)?);
                }
                _ => {
                    let identity = self.authorization.identity();
                    let reason = status::refusal(answer, self.reference.host(), identity.as_deref());
                    return Err(self.failed(what, reason));
                }
            }
        }
        Err(self.failed(what, "it asks for credentials again and again"))
    }

    fn failed(&self, what: &str, reason: impl Into<String>) -> OciError {
        let registry = self.reference.host().to_owned();
        OciError::Registry { registry, what: what.to_owned(), reason: reason.into() }
    }

    fn unreachable(&self, what: &str, error: &HttpError) -> OciError {
        self.failed(what, error.to_string())
    }

    /// The whole of an answer.
    fn read(&self, answer: HttpResponse, limit: u64, what: &str) -> Result<Vec<u8>, OciError> {
        let read = answer.into_small_body(limit).and_then(HttpBody::read_whole);
        read.map_err(|e| match e {
            HttpError::TooLarge { limit } => OciError::TooLarge { what: what.to_owned(), limit },
            other => self.unreachable(what, &other),
        })
    }
}

fn url(reference: &DockerReference, scheme: &str, path: &str) -> Result<Url, OciError> {
    let text = format!("{scheme}://{}/v2/{path}", reference.host());
    text.parse().map_err(|e: url::ParseError| OciError::InvalidReference {
        reference: reference.typed().to_owned(),
        reason: e.to_string(),
    })
}

impl Repository for Registry<'_> {
    fn manifest(&self, reference: &str) -> Result<Option<RawManifest>, OciError> {
        let what = format!("manifest {reference} of {}", self.reference.repository());
        let accept = ACCEPT.join(", ");
        let Some(answer) = self.get(&format!("manifests/{reference}"), &[("Accept", &accept)], &what)? else {
            return Ok(None);
        };
        let header = |name| answer.header(name).unwrap_or_default().to_owned();
        let media_type = header("content-type");
        let announced = header("docker-content-digest").parse::<Digest>().ok();
        let bytes = self.read(answer, MAX_MANIFEST_BYTES, &what)?;
        let asked = reference.parse::<Digest>().ok();
        // A tag leads where the registry says, but what it says must be what it sends.
        for expected in asked.iter().chain(&announced) {
            let found = expected.of_same_kind(&bytes);
            if found != *expected {
                return Err(OciError::WrongDigest { what, expected: expected.clone(), found });
            }
        }
        let digest = asked.unwrap_or_else(|| Digest::sha256(&bytes));
        Ok(Some(RawManifest { media_type, digest, bytes }))
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError> {
        let what = format!("blob {digest}");
        let answer = self.get(&format!("blobs/{digest}"), &[], &what)?;
        let answer = answer.ok_or_else(|| OciError::Missing { what: what.clone() })?;
        let bytes = self.read(answer, limit, &what)?;
        let found = digest.of_same_kind(&bytes);
        if found != *digest {
            return Err(OciError::WrongDigest { what, expected: digest.clone(), found });
        }
        Ok(bytes)
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let what = format!("referrers of {digest}");
        let accept = [("Accept", media_type::OCI_INDEX)];
        let Some(answer) = self.get(&format!("referrers/{digest}"), &accept, &what)? else {
            return Ok(Vec::new());
        };
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        let bytes = self.read(answer, MAX_MANIFEST_BYTES, &what)?;
        match (RawManifest { media_type, digest: Digest::sha256(&bytes), bytes }).parse()? {
            Document::Index(index) => Ok(index.manifests),
            Document::Manifest(_) => Ok(Vec::new()),
        }
    }
}

impl LayerSource for Registry<'_> {
    fn layer(&self, layer: &Descriptor) -> Result<Checked<'_>, OciError> {
        let what = format!("layer {}", layer.digest);
        Ok(Checked::new(BlobReader::open(self, layer, &what)?, layer, what))
    }
}

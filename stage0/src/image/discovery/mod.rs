//! Meta discovery: from an image's name to the URLs of the image, its signature and its publisher's keys.
//!
//! Responsible for: which pages are asked in which order, and what their tags mean. Must not know: what is done with the
//! URLs. Follows rkt-reference.md 3.5 and appc-spec `spec/discovery.md`.

mod html;
mod template;

#[cfg(test)]
mod discovery_test;

use appc::AcIdentifier;
use url::Url;

use self::html::MetaTag;
pub use self::html::meta_tags;
use super::http::{HttpClient, HttpError};
use super::{AppcName, printable};
use crate::log::Log;

const IMAGES: &str = "ac-discovery";
const KEYS: &str = "ac-discovery-pubkeys";
/// Most parts of a name: each costs a request or two to the same server.
const MAX_PARTS: usize = 32;
/// Version that a template gets when none was asked for.
const ANY_VERSION: &str = "latest";
/// Attempts for a page. The next page, most often on the same server, is another attempt already.
const ATTEMPTS: u32 = 2;

/// Why nothing was discovered.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// None of the pages has a tag for the name.
    #[error("no endpoints discovered: no usable meta tag {tag:?} at {tried}")]
    NotFound {
        /// Name of the tag.
        tag: &'static str,
        /// The pages, each with what was wrong with it.
        tried: String,
    },
    /// What was discovered is no URL to download from.
    #[error("the meta tag at {page} names {url:?}, which is not a URL that can be used: {reason}")]
    BadUrl {
        /// Where the tag stands.
        page: String,
        /// What it says.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name with very many parts.
    #[error("its name has more than {MAX_PARTS} parts")]
    TooManyParts,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The image.
    pub image: Url,
    /// Its signature.
    pub signature: Url,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLocation {
    /// The key.
    pub url: Url,
    /// Whether both the key and the page that names it are served over https.
    pub is_https: bool,
}

/// Asks web servers about names.
#[derive(Debug)]
pub struct Discovery {
    client: HttpClient,
    allow_http: bool,
    log: Log,
}

/// A page with tags.
struct Page {
    url: Url,
    /// Whether nothing but https led to it.
    is_https: bool,
    tags: Vec<MetaTag>,
}

impl Discovery {
    /// With `allow_http`, pages that cannot be had over https are asked for over http, and may name http URLs.
    pub fn new(client: HttpClient, allow_http: bool, log: Log) -> Self {
        let client = if allow_http { client.downgrading() } else { client };
        Self { client: client.with_attempts(ATTEMPTS), allow_http, log }
    }

    /// Where the image is; the labels must be all that the template may use.
    pub fn endpoint(&self, name: &AppcName) -> Result<Endpoint, DiscoveryError> {
        let render = |tag: &MetaTag, extension: &'static str| {
            template::render(&tag.template, |key| match key {
                "name" => Some(name.name.as_str()),
                "ext" => Some(extension),
                "version" => Some(name.labels.get(key).unwrap_or(ANY_VERSION)),
                label => name.labels.get(label),
            })
        };
        let (page, (image, signature)) =
            self.first(&name.name, IMAGES, |tag| Some((render(tag, "aci")?, render(tag, "aci.asc")?)))?;
        Ok(Endpoint { image: self.usable(&page, &image)?, signature: self.usable(&page, &signature)? })
    }

    /// Where the keys are that the images of this name are signed with; one at least.
    pub fn keys(&self, name: &AcIdentifier) -> Result<Vec<KeyLocation>, DiscoveryError> {
        let mut locations = Vec::new();
        let (page, tags) = self.all(name, KEYS, |tag| Some(tag.template.clone()))?;
        for text in tags {
            let url = self.usable(&page.url, &text)?;
            let is_https = page.is_https && url.scheme() == "https";
            locations.push(KeyLocation { url, is_https });
        }
        Ok(locations)
    }

    fn first<T>(
        &self,
        name: &AcIdentifier,
        tag: &'static str,
        act: impl Fn(&MetaTag) -> Option<T>,
    ) -> Result<(Url, T), DiscoveryError> {
        let (page, all) = self.all(name, tag, act)?;
        let nothing = DiscoveryError::NotFound { tag, tried: page.url.to_string() };
        Ok((page.url, all.into_iter().next().ok_or(nothing)?))
    }

    /// What `act` makes of the tags for `name` on the first page, from the whole name upwards, where it makes anything.
    fn all<T>(
        &self,
        name: &AcIdentifier,
        tag: &'static str,
        act: impl Fn(&MetaTag) -> Option<T>,
    ) -> Result<(Page, Vec<T>), DiscoveryError> {
        let mut prefix = name.as_str();
        if prefix.matches('/').count() >= MAX_PARTS {
            return Err(DiscoveryError::TooManyParts);
        }
        let mut tried = Vec::new();
        loop {
            for scheme in ["https", "http"] {
                if scheme == "http" && !self.allow_http {
                    continue;
                }
                let problem = match self.page(scheme, prefix) {
                    Ok(page) => {
                        let matching = page.tags.iter().filter(|found| found.name == tag);
                        let matching = matching.filter(|found| name.as_str().starts_with(&found.prefix));
                        let made: Vec<T> = matching.filter_map(&act).collect();
                        if !made.is_empty() {
                            return Ok((page, made));
                        }
                        "it has none for this image".to_owned()
                    }
                    Err(problem) => problem,
                };
                self.log.debug(format_args!("meta tag '{tag}' not found on {scheme}://{prefix}: {problem}"));
                tried.push(format!("{scheme}://{prefix} ({problem})"));
            }
            match prefix.rsplit_once('/') {
                Some((parent, _)) => prefix = parent,
                None => return Err(DiscoveryError::NotFound { tag, tried: tried.join(", ") }),
            }
        }
    }

    fn page(&self, scheme: &str, prefix: &str) -> Result<Page, String> {
        let url = Url::parse(&format!("{scheme}://{prefix}?ac-discovery=1")).map_err(|e| e.to_string())?;
        let response = self.client.get(&url, &[]).map_err(|e| printable(&e.to_string()))?;
        if response.status != 200 {
            return Err(HttpError::Status(response.status).to_string());
        }
        let (url, is_https) = (response.url.clone(), response.all_https);
        // Of a page of any length, only the head matters.
        let body = response.into_small_body(u64::MAX).map_err(|e| e.to_string())?;
        Ok(Page { url, is_https, tags: meta_tags(body).map_err(|e| printable(&e.to_string()))? })
    }

    fn usable(&self, page: &Url, text: &str) -> Result<Url, DiscoveryError> {
        let bad = |reason| DiscoveryError::BadUrl { page: page.to_string(), url: printable(text), reason };
        let url = Url::parse(text).map_err(|_| bad("it cannot be parsed"))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http => Ok(url),
            "http" => Err(bad("it is http (try --insecure-options=http)")),
            _ => Err(bad("its scheme is neither http nor https")),
        }
    }
}

//! `auth.d`, kind `auth`: who we are to web servers.
//!
//! Responsible for: credentials by host, and the header fields that carry them. Must not know: what is fetched, or how.
//! Follows rkt-reference.md 2.8.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::aws::{AwsCredentials, sign};
use super::secret::Secret;
use super::{Merge, files};
use crate::error::{Context, Result};

/// Kinds of files that may be in the directory.
pub(super) const KINDS: [&str; 2] = ["auth", "dockerAuth"];
const KIND: &str = "auth";

/// Credentials by host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    domains: BTreeMap<String, Credentials>,
}

/// What is shown to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User and password, RFC 7617.
    Basic(BasicCredentials),
    /// A token, RFC 6750.
    OAuth(OAuthCredentials),
    /// A signature over each request.
    Aws(AwsCredentials),
}

/// User and password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BasicCredentials {
    /// Who.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A bearer token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct OAuthCredentials {
    /// The token.
    pub token: Secret,
}

/// A file of this kind.
#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    credentials: Value,
}

impl AuthConfig {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut all = AuthConfig::default();
        for (path, file) in files::read::<AuthFile>(directory, KIND, &KINDS)? {
            all.add(file).map_err(|why| files::invalid(&path, why))?;
        }
        Ok(all)
    }

    fn add(&mut self, file: AuthFile) -> std::result::Result<(), String> {
        if file.domains.is_empty() {
            return Err("no domains specified".to_owned());
        }
        let credentials = Credentials::parse(&file.kind, file.credentials)?;
        for written in file.domains {
            let domain = parse_domain(&written)?;
            if self.domains.contains_key(&domain) {
                return Err(format!("auth for domain {written:?} is already specified"));
            }
            self.domains.insert(domain, credentials.clone());
        }
        Ok(())
    }

    /// The header fields that say who we are in a request of `method` for `url`; none unless `url` is https and its host
    /// and port are configured. A request that goes on to another host needs fields of its own.
    pub fn headers(&self, method: &str, url: &Url) -> Result<Vec<(String, String)>> {
        if url.scheme() != "https" {
            return Ok(Vec::new());
        }
        let Some(credentials) = authority(url).and_then(|domain| self.domains.get(&domain)) else {
            return Ok(Vec::new());
        };
        let authorization = |value: String| vec![("Authorization".to_owned(), value)];
        Ok(match credentials {
            Credentials::Basic(basic) => authorization(basic.header()),
            Credentials::OAuth(oauth) => authorization(format!("Bearer {}", oauth.token.reveal())),
            Credentials::Aws(aws) => sign(aws, method, url, SystemTime::now())
                .context(format!("cannot sign the request for {url} with the AWS credentials"))?,
        })
    }

    /// The hosts with their credentials, in order.
    pub fn domains(&self) -> impl Iterator<Item = (&str, &Credentials)> {
        self.domains.iter().map(|(domain, credentials)| (domain.as_str(), credentials))
    }
}

impl Merge for AuthConfig {
    fn override_with(&mut self, later: Self) {
        self.domains.extend(later.domains);
    }
}

impl Credentials {
    fn parse(kind: &str, json: Value) -> std::result::Result<Self, String> {
        // Without the object each of its fields is missing, and that is what the message should say.
        let json = if json.is_null() { Value::Object(serde_json::Map::new()) } else { json };
        let wrong = |error: serde_json::Error| error.to_string();
        match kind {
            "" => Err("no auth type specified".to_owned()),
            "basic" => {
                let basic: BasicCredentials = serde_json::from_value(json).map_err(wrong)?;
                basic.check()?;
                Ok(Credentials::Basic(basic))
            }
            "oauth" => {
                let oauth: OAuthCredentials = serde_json::from_value(json).map_err(wrong)?;
                match oauth.token.reveal() {
                    "" => Err("no oauth bearer token specified".to_owned()),
                    token if !is_header_text(token) => {
                        Err("oauth bearer token has characters that no HTTP header may have".to_owned())
                    }
                    _ => Ok(Credentials::OAuth(oauth)),
                }
            }
            "aws" => {
                let aws: AwsCredentials = serde_json::from_value(json).map_err(wrong)?;
                aws.check()?;
                Ok(Credentials::Aws(aws))
            }
            _ => Err(format!("unknown auth type: {kind:?}")),
        }
    }

    /// The value of `type` in a file.
    pub const fn kind(&self) -> &'static str {
        match self {
            Credentials::Basic(_) => "basic",
            Credentials::OAuth(_) => "oauth",
            Credentials::Aws(_) => "aws",
        }
    }
}

impl BasicCredentials {
    /// Whether both are there.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        if self.user.is_empty() {
            return Err("user not specified".to_owned());
        }
        if self.password.is_empty() {
            return Err("password not specified".to_owned());
        }
        Ok(())
    }

    fn header(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password.reveal())))
    }
}

/// Visible ASCII without spaces: what tokens and key IDs consist of.
pub(super) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `host[:port]` in the form that URLs are compared in.
fn parse_domain(text: &str) -> std::result::Result<String, String> {
    let invalid = || format!("invalid domain {text:?}: it must be a host name, or a host name and a port");
    let url = Url::parse(&format!("https://{text}/")).map_err(|_| invalid())?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_plain || text.contains(['/', '@', '\\']) {
        return Err(invalid());
    }
    authority(&url).ok_or_else(invalid)
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

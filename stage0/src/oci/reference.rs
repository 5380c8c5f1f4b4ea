//! Names of images in docker registries.
//!
//! Responsible for: the grammar, its defaults, and the App Container name that an image gets. Must not know: registries,
//! credentials. Follows docker's distribution/reference and rkt-reference.md 3.1 and 3.7.

use std::fmt;
use std::net::Ipv6Addr;

use appc::AcIdentifier;

use super::{Digest, OciError};

/// The registry of names without a host. Converted images are named after it, as in rkt.
const HUB: &str = "registry-1.docker.io";
/// Other names of the same registry.
const HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", HUB];
/// Where Docker Hub keeps names without a namespace.
const HUB_NAMESPACE: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest repository with its host, the limit of docker's grammar.
const MAX_NAME_BYTES: usize = 255;
/// Longest tag, the limit of docker's grammar.
const MAX_TAG_BYTES: usize = 128;

/// `[HOST[:PORT]/]NAME[:TAG|@DIGEST|:TAG@DIGEST]` with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerReference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
    typed: String,
}

impl DockerReference {
    /// Reads what stands behind `docker://`.
    pub fn parse(typed: &str) -> Result<Self, OciError> {
        let invalid =
            |reason: &str| OciError::InvalidReference { reference: shown(typed), reason: reason.to_owned() };
        let (rest, digest) = match typed.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (typed, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => (HUB, rest),
        };
        if !is_host_and_port(host) {
            return Err(invalid("the registry is no host name with an optional port"));
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(invalid("it has no name"));
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("the name of a repository must be in lower case"));
        }
        if !name.split('/').all(is_component) {
            return Err(invalid(
                "the name of a repository has lower-case letters, digits, and between these single '.', '_', '__', \
                 '-' or '/'",
            ));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(invalid(
                "a tag has at most 128 letters, digits, '_', '.' and '-', the last two not first",
            ));
        }
        let is_hub = HUB_ALIASES.contains(&host.to_ascii_lowercase().as_str());
        let host = if is_hub { HUB.to_owned() } else { host.to_ascii_lowercase() };
        let namespace = if is_hub && !name.contains('/') { HUB_NAMESPACE } else { "" };
        let repository = format!("{namespace}{name}");
        if host.len() + 1 + repository.len() > MAX_NAME_BYTES {
            return Err(invalid("it is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { host, repository, tag, digest, typed: typed.to_owned() })
    }

    /// Host and port of the registry.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Names under which the registry's credentials may be configured, the most usual one first.
    pub fn credential_hosts(&self) -> Vec<&str> {
        if self.host == HUB { vec!["index.docker.io", "docker.io", HUB] } else { vec![&self.host] }
    }

    /// The name in the registry, for example `library/redis`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one; `latest` where neither tag nor digest was typed.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was typed.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest where there is one, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        }
    }

    /// The version of the converted image: the tag where there is one, else the digest.
    pub fn version(&self) -> String {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => tag.clone(),
            (None, digest) => digest.as_ref().map_or_else(|| DEFAULT_TAG.to_owned(), Digest::to_string),
        }
    }

    /// Whether the image was asked for without a version, or as the latest one.
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref() == Some(DEFAULT_TAG)
    }

    /// As the user typed it.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Name of the converted image, for example `registry-1.docker.io/library/redis`.
    pub fn image_name(&self) -> Result<AcIdentifier, OciError> {
        AcIdentifier::sanitised(&format!("{}/{}", self.host, self.repository))
            .map_err(|e| OciError::InvalidReference { reference: shown(&self.typed), reason: e.to_string() })
    }

    /// The name in docker's words, with Docker Hub as `docker.io`: what signatures of other tools say.
    pub fn docker_name(&self) -> String {
        let host = if self.host == HUB { "docker.io" } else { &self.host };
        format!("{host}/{}", self.repository)
    }

    /// The URL under which the store remembers the image.
    pub fn url(&self) -> String {
        format!("docker://{self}")
    }
}

impl fmt::Display for DockerReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// At most as much of a reference as belongs into a message.
fn shown(typed: &str) -> String {
    typed.chars().take(2 * MAX_NAME_BYTES).collect()
}

/// What makes the first component a host and not a namespace of Docker Hub.
fn is_host(component: &str) -> bool {
    component.contains(['.', ':'])
        || component == "localhost"
        || component.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    let is_address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !word.starts_with('-')
            && !word.ends_with('-')
    };
    port_fits && (is_address || host.split('.').all(is_word))
}

/// Words of letters and digits joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges_fit =
        component.bytes().next().is_some_and(is_word) && component.bytes().last().is_some_and(is_word);
    let joints = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    edges_fit
        && joints
            .into_iter()
            .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

//! Manifests, indexes and image configurations.
//!
//! Responsible for: decoding the JSON of OCI 1.1 and of Docker's schema 2, bounded in size, depth and count. Must not
//! know: where it comes from, which manifest of an index is wanted. Follows the OCI image specification 1.1
//! (descriptor.md, manifest.md, image-index.md, config.md) and Docker's "Image Manifest Version 2, Schema 2".

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{Digest, OciError};

/// Largest manifest or index, as the OCI distribution specification lets registries limit it.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Largest image configuration: containers' own limit for manifests; their history is most of it.
pub const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;
/// Deepest nesting of the JSON. Manifests have 5 levels; unknown fields may bring their own.
const MAX_DEPTH: usize = 100;
/// Most layers of an image, as in the store. Docker stops at 127.
pub const MAX_LAYERS: usize = 256;
/// Most entries of an index: every platform with its attestation many times over.
const MAX_INDEX_ENTRIES: usize = 4096;

/// Media types of OCI and Docker.
pub mod media_type {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
}

/// Names content: what it is, its digest and its size.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// What names it.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of artifact the manifest is; of entries of an index only.
    #[serde(default, deserialize_with = "null_as_default")]
    pub artifact_type: String,
    /// What it runs on; of entries of an index only.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Notes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What an image runs on, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// `amd64`, `arm64` …
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// `v7`, `v8` …; or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub variant: String,
}

/// An OCI image index, or Docker's manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// One manifest for each platform, and others.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// Notes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An image manifest: its configuration and its layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// What kind of artifact it is; empty for images.
    #[serde(default, deserialize_with = "null_as_default")]
    pub artifact_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What this is a signature or an attestation of.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Notes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An image's configuration.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct ImageConfig {
    /// `linux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// `amd64`, `arm64` …
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// `v7`, `v8` …; or empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub variant: String,
    /// When it was made, RFC 3339.
    #[serde(default, deserialize_with = "null_as_default")]
    pub created: String,
    /// Who made it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub author: String,
    /// What was said when it was made.
    #[serde(default, deserialize_with = "null_as_default")]
    pub comment: String,
    /// How to run it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: RunConfig,
    /// What its layers are when uncompressed.
    #[serde(default, deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
}

/// How to run an image.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`, names or numbers; empty means root.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// `80/tcp` …
    #[serde(deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// Goes before the command.
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// The command, or its default arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Paths that want a volume.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, serde::de::IgnoredAny>,
    /// Absolute path, or empty.
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// Notes.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15` …, or empty.
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
}

/// What an image's layers are when uncompressed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, the lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

/// A manifest or an index as its bytes, whose digest has been checked where one was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// What the server or the descriptor calls it; empty if neither says anything.
    pub media_type: String,
    /// The digest that `bytes` have.
    pub digest: Digest,
    /// As received.
    pub bytes: Vec<u8>,
}

/// What a manifest turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Several manifests to choose from.
    Index(Index),
    /// One image or artifact.
    Manifest(Box<Manifest>),
}

/// The fields that say what a manifest is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl RawManifest {
    /// Decodes it. What it is must not depend on who reads it, or a signature would be for one thing and the image
    /// another: the media types outside and inside and the fields have to agree (CVE-2021-41190).
    pub fn parse(&self) -> Result<Document, OciError> {
        let what = || format!("manifest {}", self.digest);
        let malformed = |reason: String| OciError::Malformed { what: what(), reason };
        let kind: Kind = decode(&what(), &self.bytes, MAX_MANIFEST_BYTES)?;
        if kind.schema_version == Some(1) || kind.fs_layers.is_some() {
            let reason = "it has Docker's schema 1, which was withdrawn in 2020; push the image again with a \
                          current tool";
            return Err(OciError::Unsupported { what: what(), reason: reason.to_owned() });
        }
        if kind.schema_version != Some(2) {
            return Err(malformed("its schemaVersion is not 2".to_owned()));
        }
        let outside = known_type(&self.media_type);
        if !kind.media_type.is_empty() && outside.is_some_and(|outside| outside != kind.media_type) {
            return Err(malformed(format!(
                "it calls itself {:?}, but was announced as {:?}",
                kind.media_type, self.media_type
            )));
        }
        let is_index = kind.manifests.is_some();
        if is_index && (kind.layers.is_some() || kind.config.is_some()) {
            return Err(malformed("it has the fields of an index and of an image".to_owned()));
        }
        let media_type =
            if kind.media_type.is_empty() { outside.unwrap_or_default() } else { &kind.media_type };
        match media_type {
            media_type::OCI_INDEX | media_type::DOCKER_LIST if is_index => {}
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST if !is_index => {}
            "" => {}
            other => {
                let reason = format!("it is of type {other:?}, which is no image");
                return Err(OciError::Unsupported { what: what(), reason });
            }
        }
        if is_index {
            let index: Index = decode(&what(), &self.bytes, MAX_MANIFEST_BYTES)?;
            if index.manifests.len() > MAX_INDEX_ENTRIES {
                return Err(malformed(format!("it lists more than {MAX_INDEX_ENTRIES} manifests")));
            }
            Ok(Document::Index(index))
        } else {
            let manifest: Manifest = decode(&what(), &self.bytes, MAX_MANIFEST_BYTES)?;
            if manifest.layers.len() > MAX_LAYERS {
                return Err(malformed(format!("it has more than {MAX_LAYERS} layers")));
            }
            Ok(Document::Manifest(Box::new(manifest)))
        }
    }
}

impl ImageConfig {
    /// Decodes a configuration; `what` names it in errors.
    pub fn from_json(what: &str, bytes: &[u8]) -> Result<Self, OciError> {
        decode(what, bytes, MAX_CONFIG_BYTES)
    }
}

/// The type a server announces, if it says anything: many layouts and plain web servers do not.
fn known_type(announced: &str) -> Option<&str> {
    let announced = announced.split(';').next().unwrap_or_default().trim();
    match announced {
        "" | "application/json" | "text/plain" | "application/octet-stream" => None,
        announced => Some(announced),
    }
}

/// Decodes JSON of at most `limit` bytes that `what` names; unknown fields are ignored.
pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8], limit: u64) -> Result<T, OciError> {
    if bytes.len() as u64 > limit {
        return Err(OciError::TooLarge { what: what.to_owned(), limit });
    }
    let malformed = |reason| OciError::Malformed { what: what.to_owned(), reason };
    if depth(bytes) > MAX_DEPTH {
        return Err(malformed(format!("its JSON is nested deeper than {MAX_DEPTH} levels")));
    }
    serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))
}

/// Nesting of JSON. The decoder limits it only where it builds something, not in fields it ignores.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Go writes an absent list as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

//! The rows of the image store's database.
//!
//! Responsible for: what is recorded of an image and of a URL, and its text form. Must not know: tables, transactions.
//! Follows rkt-reference.md 2.9 (tables `aciinfo`, `remote`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DiffId, Key};

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageInfo {
    /// Its key.
    #[serde(rename = "blobKey", with = "text")]
    pub key: Key,
    /// Its name, without labels.
    pub name: String,
    /// When it came into the store.
    #[serde(with = "nanoseconds")]
    pub import_time: SystemTime,
    /// When its bytes were read last, at most a minute ago.
    #[serde(with = "nanoseconds")]
    pub last_used: SystemTime,
    /// Whether it was asked for without a version.
    pub latest: bool,
    /// Bytes of the uncompressed tar and of its layers. Other images may share the layers.
    pub size: u64,
    /// Bytes of the rendered tree, 0 if there is none.
    pub tree_size: u64,
    /// Its layers, each once, in no particular order; none unless it was converted from a container image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<StoredLayer>,
}

impl ImageInfo {
    /// Bytes of the uncompressed tar alone.
    pub(super) fn blob_bytes(&self) -> u64 {
        self.layers.iter().fold(self.size, |bytes, layer| bytes.saturating_sub(layer.size))
    }
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredLayer {
    /// Its name.
    #[serde(with = "text")]
    pub diff_id: DiffId,
    /// Its bytes.
    pub size: u64,
}

/// Where an image came from, and how long that answer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// URL of the image.
    pub aci_url: String,
    /// URL of its signature; empty if it was not verified.
    pub sig_url: String,
    /// `ETag` of the image's response, or the digest of a container image's manifest; empty if there was none.
    pub etag: String,
    /// The image.
    #[serde(with = "text")]
    pub blob_key: Key,
    /// Seconds for which the server need not be asked again.
    pub cache_max_age: u64,
    /// When it was fetched.
    #[serde(with = "nanoseconds")]
    pub download_time: SystemTime,
}

impl Remote {
    /// Whether a signature over the image was verified when it was fetched.
    pub fn is_verified(&self) -> bool {
        !self.sig_url.is_empty()
    }

    /// Whether the server need not be asked again.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.download_time).is_ok_and(|age| age < Duration::from_secs(self.cache_max_age))
    }
}

/// Names in their text form.
mod text {
    use super::*;

    pub fn serialize<T: std::fmt::Display, S: Serializer>(
        name: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(name)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Times as nanoseconds since 1970; earlier ones do not occur.
mod nanoseconds {
    use super::*;

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        Ok(UNIX_EPOCH + Duration::from_nanos(u64::deserialize(deserializer)?))
    }
}

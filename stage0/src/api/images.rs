//! Images as the API shows them.
//!
//! Responsible for: what is said of an image in the store. Must not know: filters, connections. Follows
//! rkt-reference.md 7.1.

use std::fmt::Display;
use std::path::Path;

use appc::ImageManifest;

use super::pods::Images;
use super::wire;
use crate::clock::unix_seconds;
use crate::commands::version::APPC_VERSION;
use crate::store::{ImageInfo, ImageStore, Key, StoreError};

/// The version of an image that says none.
pub const DEFAULT_VERSION: &str = "latest";

/// The images below one data directory. Looking at them makes no directories.
#[derive(Debug)]
pub struct ImageReader {
    /// Missing as long as nobody has fetched an image.
    store: Option<ImageStore>,
}

impl ImageReader {
    /// Opens the store, if there is one.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let store = data.join("cas").is_dir().then(|| ImageStore::open(data)).transpose()?;
        Ok(ImageReader { store })
    }

    /// What is known of all images, in the order of their IDs.
    pub fn rows(&self) -> Result<Vec<ImageInfo>, StoreError> {
        self.store.as_ref().map_or_else(|| Ok(Vec::new()), ImageStore::images)
    }

    /// The same, by ID.
    pub fn by_id(&self) -> Result<Images, StoreError> {
        Ok(self.rows()?.into_iter().map(|image| (image.key.to_string(), image)).collect())
    }

    /// The image with this key.
    pub fn image(&self, key: &Key) -> Result<wire::Image, StoreError> {
        let missing = || StoreError::NoImage(key.to_string());
        let row = self.store.as_ref().ok_or_else(missing)?.info(key)?.ok_or_else(missing)?;
        self.describe(&row, true)
    }

    /// Describes an image; its manifest comes with `detail`. Errors: it was removed meanwhile, or its manifest cannot
    /// be read.
    pub fn describe(&self, row: &ImageInfo, detail: bool) -> Result<wire::Image, StoreError> {
        let store = self.store.as_ref().ok_or_else(|| StoreError::NoImage(row.key.to_string()))?;
        let bytes = store.manifest_json(&row.key)?;
        let manifest = ImageManifest::from_json(&bytes).map_err(StoreError::Manifest)?;
        Ok(wire::Image {
            base_format: Some(appc_format()),
            id: row.key.to_string(),
            name: manifest.name.to_string(),
            version: manifest.labels.get("version").unwrap_or(DEFAULT_VERSION).to_owned(),
            import_timestamp: unix_seconds(row.import_time),
            manifest: if detail { bytes } else { Vec::new() },
            size: i64::try_from(row.size).unwrap_or(i64::MAX),
            annotations: key_values(manifest.annotations.iter().map(|a| (&a.name, &a.value))),
            labels: key_values(manifest.labels.iter().map(|label| (&label.name, &label.value))),
        })
    }
}

/// The format of every image in the store.
pub fn appc_format() -> wire::ImageFormat {
    wire::ImageFormat { r#type: wire::ImageType::Appc.into(), version: APPC_VERSION.to_owned() }
}

/// Names and values as they are sent.
pub fn key_values<'a>(
    pairs: impl Iterator<Item = (&'a (impl Display + 'a), &'a String)>,
) -> Vec<wire::KeyValue> {
    pairs.map(|(name, value)| wire::KeyValue { key: name.to_string(), value: value.clone() }).collect()
}

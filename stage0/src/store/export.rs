//! Images as files of their own.
//!
//! Responsible for: an image that any rkt can import without this store: its own archive, or one made of its layers. Must
//! not know: where it is written to. Follows rkt-reference.md 3.11 and appc-spec `spec/aci.md`.

use std::io::{self, Write};

use super::contents::HashCheck;
use super::dependencies::Part;
use super::{ImageStore, Key, LAYERS_ANNOTATION, StoreError, TreeStore, write_image};
use crate::extract::Selection;

impl TreeStore {
    /// Writes the image, uncompressed. One that consists of layers of this store is written with its files in it, so
    /// that it gets another ID where it is imported; any other is written byte for byte.
    pub fn export(&self, images: &ImageStore, key: &Key, mut output: impl Write) -> Result<(), StoreError> {
        if images.layers_of(key)?.is_empty() {
            let mut blob = HashCheck::new(images.read(key)?);
            io::copy(&mut blob, &mut output).map_err(StoreError::file("write", "the exported image"))?;
            return blob.check(key);
        }
        let manifest = standalone_manifest(&images.manifest_json(key)?)?;
        let part = Part { key: key.clone(), selection: Selection::default() };
        let id = self.render_parts(images, key, &[part])?;
        let _held = self.hold(&id)?;
        write_image(&manifest, &self.rootfs(&id), io::BufWriter::new(output))
    }
}

/// The manifest for an archive that holds all files of the image: without the list of layers, which means something in this
/// store only, and without dependencies and the whitelist, which would bring back and take away files.
pub fn standalone_manifest(json: &[u8]) -> Result<Vec<u8>, StoreError> {
    let unreadable = |e: serde_json::Error| StoreError::file("read", "the image manifest")(e);
    let mut manifest: serde_json::Value = serde_json::from_slice(json).map_err(unreadable)?;
    if let Some(annotations) = manifest.get_mut("annotations").and_then(|list| list.as_array_mut()) {
        annotations.retain(|one| one.get("name").and_then(|name| name.as_str()) != Some(LAYERS_ANNOTATION));
    }
    if let Some(members) = manifest.as_object_mut() {
        members.shift_remove("dependencies");
        members.shift_remove("pathWhitelist");
    }
    serde_json::to_vec(&manifest).map_err(unreadable)
}

//! Looking at rendered trees, and taking them away.
//!
//! Responsible for: which trees there are, whether one is still what it was when it was rendered, and removal. Must not
//! know: who uses a tree; the caller does. Follows rkt-reference.md 1.6 (`image verify`, `image gc`) and 2.9.

use std::io;
use std::path::Path;

use super::dependencies::flatten;
use super::key_lock::LockKind;
use super::tree_hash::{is_comparable, summarise};
use super::{ImageStore, Key, StoreError, TreeId, TreeStore};
use crate::fault;

/// A tree on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeInfo {
    /// Which one.
    pub id: TreeId,
    /// The image it is a rendering of, if that is written there.
    pub image: Option<Key>,
    /// Whether it is whole. Others are what a killed rkt left, or are being rendered.
    pub is_rendered: bool,
}

/// Whether a tree is what it was when it was rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It is.
    Verified(TreeId),
    /// There is no tree of this image.
    NotRendered,
    /// It was changed.
    Mismatch {
        /// Which tree.
        id: TreeId,
        /// Its hash when it was rendered.
        expected: String,
        /// Its hash now.
        found: String,
    },
    /// Another version of rkt rendered it and wrote a hash that this one cannot compute. That is no sign of a change.
    OtherForm(TreeId),
}

impl TreeStore {
    /// All trees, by ID. Unfinished ones are among them.
    pub fn list(&self) -> Result<Vec<TreeInfo>, StoreError> {
        let directory = self.directory();
        let failed = |e: io::Error| StoreError::file("read", directory)(e);
        let mut trees = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What has another name is none of ours.
            let Some(id) = name.to_str().and_then(|name| name.parse::<TreeId>().ok()) else {
                continue;
            };
            let image = std::fs::read_to_string(self.path(&id).join("image")).ok();
            let image = image.and_then(|text| text.trim().parse().ok());
            trees.push(TreeInfo { is_rendered: self.is_rendered(&id), id, image });
        }
        trees.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(trees)
    }

    /// Removes a tree, after whoever is rendering it is done. The caller knows that no pod uses it.
    pub fn remove(&self, id: &TreeId) -> Result<(), StoreError> {
        let _lock = self.lock(id, LockKind::Exclusive)?;
        self.remove_locked(id)?;
        fault::point("tree.removed");
        Ok(())
    }

    /// The tree that is or would be the rendering of an image.
    pub fn id(&self, images: &ImageStore, key: &Key) -> Result<TreeId, StoreError> {
        Ok(TreeId::of(flatten(images, key)?.iter().map(|part| &part.key)))
    }

    /// Compares the image's tree with the hash it had when it was rendered.
    pub fn verify(&self, images: &ImageStore, key: &Key) -> Result<Verification, StoreError> {
        let id = self.id(images, key)?;
        let _lock = self.lock(&id, LockKind::Shared)?;
        if !self.is_rendered(&id) {
            return Ok(Verification::NotRendered);
        }
        let expected = read(&self.path(&id).join("hash"))?;
        if !is_comparable(&expected) {
            return Ok(Verification::OtherForm(id));
        }
        let found = summarise(&self.rootfs(&id))?.hash;
        if found == expected {
            Ok(Verification::Verified(id))
        } else {
            Ok(Verification::Mismatch { id, expected, found })
        }
    }

    /// Renders an image's tree anew, whatever is there.
    pub fn render_again(&self, images: &ImageStore, key: &Key) -> Result<TreeId, StoreError> {
        let id = self.id(images, key)?;
        self.remove(&id)?;
        self.render(images, key)
    }
}

fn read(path: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(path).map_err(StoreError::file("read", path))?;
    Ok(text.trim().to_owned())
}

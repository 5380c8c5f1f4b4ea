//! The images that a rendered image is made of.
//!
//! Responsible for: flattening dependencies into one list and deciding which paths of which image count. Must not know:
//! extraction. Follows rkt-reference.md 3.9 and appc-spec `pkg/acirenderer`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use appc::{Dependency, ImageManifest};

use super::{ImageStore, Key, StoreError};

/// Most images that one image is made of. Container images have at most 127 layers.
const MAX_DEPENDENCIES: usize = 256;

/// One image of the list.
#[derive(Debug)]
pub(super) struct Part {
    pub key: Key,
    /// Paths of this image's own whitelist, without the leading slash.
    own_whitelist: Option<HashSet<Vec<u8>>>,
    /// The topmost whitelist above this image.
    upper_whitelist: Option<HashSet<Vec<u8>>>,
}

impl Part {
    /// Whether an entry of this image belongs in the tree.
    pub fn includes(&self, path: &OsStr, is_directory: bool) -> bool {
        let path = path.as_bytes();
        let listed = |list: &HashSet<Vec<u8>>| list.contains(path);
        if path.is_empty() {
            return true;
        }
        self.upper_whitelist.as_ref().is_none_or(listed)
            && (is_directory || self.own_whitelist.as_ref().is_none_or(listed))
    }
}

/// The image and everything it depends on, the image first. What comes first wins.
pub(super) fn flatten(images: &ImageStore, top: &Key) -> Result<Vec<Part>, StoreError> {
    let mut parts = Vec::new();
    // Every dependency goes right behind its parent, so of `[B, C]` the later one, C, comes out first.
    let mut waiting = vec![(top.clone(), None::<HashSet<Vec<u8>>>)];
    while let Some((key, upper_whitelist)) = waiting.pop() {
        if parts.len() >= MAX_DEPENDENCIES {
            return Err(StoreError::TooManyDependencies { image: top.to_string(), limit: MAX_DEPENDENCIES });
        }
        let manifest = images.manifest(&key)?;
        let own_whitelist = whitelist(&manifest);
        let below = upper_whitelist.clone().or_else(|| own_whitelist.clone());
        for dependency in &manifest.dependencies {
            waiting.push((find(images, &manifest, dependency)?, below.clone()));
        }
        parts.push(Part { key, own_whitelist, upper_whitelist });
    }
    Ok(parts)
}

fn whitelist(manifest: &ImageManifest) -> Option<HashSet<Vec<u8>>> {
    if manifest.path_whitelist.is_empty() {
        return None;
    }
    let paths = manifest.path_whitelist.iter();
    Some(paths.map(|path| path.trim_matches('/').as_bytes().to_vec()).collect())
}

fn find(images: &ImageStore, parent: &ImageManifest, dependency: &Dependency) -> Result<Key, StoreError> {
    let missing =
        |what: String| StoreError::MissingDependency { image: parent.name.to_string(), dependency: what };
    if let Some(id) = &dependency.image_id {
        return match images.resolve_key(id.as_str()) {
            Err(StoreError::NoKey) => Err(missing(id.to_string())),
            other => other,
        };
    }
    // An image that says nothing of its platform has its parent's.
    let mut labels = dependency.labels.clone();
    for name in ["os", "arch"] {
        if let (None, Some(value)) = (labels.get(name), parent.labels.get(name)) {
            let value = value.to_owned();
            let name = name.parse().map_err(StoreError::Manifest)?;
            labels.set(name, value).map_err(StoreError::Manifest)?;
        }
    }
    let found = images.get_by_name(&dependency.image_name, &labels)?;
    found.ok_or_else(|| missing(dependency.image_name.to_string()))
}

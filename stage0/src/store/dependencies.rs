//! The images that a rendered image is made of.
//!
//! Responsible for: flattening dependencies into one list and deciding which paths of which image count. Must not know:
//! extraction. Follows rkt-reference.md 3.9 and appc-spec `pkg/acirenderer`.

use std::collections::HashSet;

use appc::{Dependency, ImageManifest};

use super::{ImageStore, Key, StoreError};
use crate::extract::Selection;

/// Most images that one image is made of. Container images have at most 127 layers.
const MAX_DEPENDENCIES: usize = 256;

/// One image of the list.
#[derive(Debug)]
pub(super) struct Part {
    pub key: Key,
    /// Which of its entries belong in the tree.
    pub selection: Selection,
}

/// The image and everything it depends on, the image first. What comes first wins.
pub(super) fn flatten(images: &ImageStore, top: &Key) -> Result<Vec<Part>, StoreError> {
    let mut parts = Vec::new();
    // Every dependency goes right behind its parent, so of `[B, C]` the later one, C, comes out first.
    let mut waiting = vec![(top.clone(), None::<HashSet<String>>)];
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
        parts.push(Part { key, selection: Selection { own: own_whitelist, above: upper_whitelist } });
    }
    Ok(parts)
}

fn whitelist(manifest: &ImageManifest) -> Option<HashSet<String>> {
    if manifest.path_whitelist.is_empty() {
        return None;
    }
    let paths = manifest.path_whitelist.iter();
    Some(paths.map(|path| path.trim_matches('/').to_owned()).collect())
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

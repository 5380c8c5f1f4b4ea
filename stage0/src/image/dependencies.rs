//! What an image depends on, brought into the store.
//!
//! Responsible for: walking the dependencies, each fetched once, and never in a circle. Must not know: how one is fetched.
//! Follows rkt-reference.md 3.9.

use std::collections::{HashMap, HashSet};

use appc::Dependency;

use super::{AppcName, Fetcher, ImageError};
use crate::store::{Key, StoreError};

/// Most images that one may depend on, directly or not; what the tree store can put together.
const MAX_DEPENDENCIES: usize = 256;

/// One walk.
pub(super) struct Dependencies<'f, 'a> {
    fetcher: &'f Fetcher<'a>,
    /// From the image that was asked for down to the one that is looked at.
    path: Vec<(Key, String)>,
    /// Images whose dependencies are all there.
    done: HashSet<Key>,
    /// What names were found to mean.
    names: HashMap<String, Key>,
}

impl<'f, 'a> Dependencies<'f, 'a> {
    /// A walk in which nothing was seen yet.
    pub fn new(fetcher: &'f Fetcher<'a>) -> Self {
        Self { fetcher, path: Vec::new(), done: HashSet::new(), names: HashMap::new() }
    }

    /// Brings everything into the store that the image `key` depends on.
    pub fn fetch(&mut self, key: &Key) -> Result<(), ImageError> {
        if self.done.contains(key) {
            return Ok(());
        }
        let manifest = self.fetcher.store().manifest(key)?;
        if self.path.iter().any(|(above, _)| above == key) {
            let mut names: Vec<&str> = self.path.iter().map(|(_, name)| name.as_str()).collect();
            names.push(manifest.name.as_str());
            return Err(ImageError::DependencyCycle(names.join(" -> ")));
        }
        if self.path.len() + self.done.len() > MAX_DEPENDENCIES {
            let image = self.path.first().map_or(manifest.name.to_string(), |(_, name)| name.clone());
            return Err(StoreError::TooManyDependencies { image, limit: MAX_DEPENDENCIES }.into());
        }
        self.path.push((key.clone(), manifest.name.to_string()));
        for dependency in manifest.dependencies {
            let below = self.find(dependency)?;
            self.fetch(&below)?;
        }
        self.path.pop();
        self.done.insert(key.clone());
        Ok(())
    }

    /// One dependency's image. An ID alone decides, where there is one; the name says where to get it.
    fn find(&mut self, dependency: Dependency) -> Result<Key, ImageError> {
        let store = self.fetcher.store();
        let Some(id) = dependency.image_id else {
            return self.by_name(AppcName { name: dependency.image_name, labels: dependency.labels });
        };
        match store.resolve_key(id.as_str()) {
            Err(StoreError::NoKey) => {}
            other => return Ok(other?),
        }
        let name = AppcName { name: dependency.image_name, labels: dependency.labels };
        let shown = name.to_string();
        let found = self.by_name(name)?;
        match store.resolve_key(id.as_str()) {
            Ok(key) if key == found => Ok(key),
            Ok(_) | Err(StoreError::NoKey) => Err(ImageError::DependencyId {
                name: shown,
                wanted: id.to_string(),
                found: found.to_string(),
            }),
            Err(e) => Err(e.into()),
        }
    }

    fn by_name(&mut self, name: AppcName) -> Result<Key, ImageError> {
        let text = name.to_string();
        if let Some(key) = self.names.get(&text) {
            return Ok(key.clone());
        }
        let key = self.fetcher.name(&name, None)?;
        self.names.insert(text, key.clone());
        Ok(key)
    }
}

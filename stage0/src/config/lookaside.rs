//! `lookaside.d`: where signatures of docker images are, which registries themselves do not keep.
//!
//! Responsible for: locations by registry. Must not know: what lies there. A kind that rkt did not have; what it says is
//! what `lookaside` says in containers-registries.d(5).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::{Merge, files};
use crate::error::Result;

const KIND: &str = "lookaside";

/// Locations by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookasideConfig {
    registries: BTreeMap<String, Url>,
}

/// A file of this kind.
#[derive(Deserialize)]
struct LookasideFile {
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    location: String,
}

impl LookasideConfig {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut all = LookasideConfig::default();
        for (path, file) in files::read::<LookasideFile>(directory, KIND, &[KIND])? {
            all.add(file).map_err(|why| files::invalid(&path, why))?;
        }
        Ok(all)
    }

    fn add(&mut self, file: LookasideFile) -> std::result::Result<(), String> {
        if file.registries.is_empty() {
            return Err("no registries specified".to_owned());
        }
        let location = Url::parse(&file.location)
            .ok()
            .filter(|url| url.scheme() == "https" || (url.scheme() == "file" && url.to_file_path().is_ok()))
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            .ok_or_else(|| {
                format!("location {:?} must be a https://… or file:///… URL without a query", file.location)
            })?;
        for registry in file.registries {
            if self.registries.contains_key(&registry) {
                return Err(format!("lookaside location of registry {registry:?} is already specified"));
            }
            self.registries.insert(registry, location.clone());
        }
        Ok(())
    }

    /// Location of the signatures for images of a registry, `host[:port]`.
    pub fn location(&self, registry: &str) -> Option<&Url> {
        self.registries.get(registry)
    }
}

impl Merge for LookasideConfig {
    fn override_with(&mut self, later: Self) {
        self.registries.extend(later.registries);
    }
}

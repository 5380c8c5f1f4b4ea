//! `paths.d`: where rkt keeps things.
//!
//! Responsible for: its fields. Must not know: what is kept there. Follows rkt-reference.md 2.8.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Merge, files};
use crate::error::Result;

/// The `paths` kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PathsConfig {
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The directory of `--stage1-from-dir`.
    #[serde(rename = "stage1-images")]
    pub stage1_images: Option<PathBuf>,
}

impl PathsConfig {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut all = PathsConfig::default();
        for (path, one) in files::read::<PathsConfig>(directory, "paths", &["paths"])? {
            for (name, field) in [("data", &one.data), ("stage1-images", &one.stage1_images)] {
                if field.as_ref().is_some_and(|value| !value.is_absolute()) {
                    return Err(files::invalid(&path, format!("{name} must be an absolute path")));
                }
            }
            if one.data.is_some() && all.data.is_some() {
                return Err(files::invalid(&path, "data directory is already specified"));
            }
            if one.stage1_images.is_some() && all.stage1_images.is_some() {
                return Err(files::invalid(&path, "stage1 images directory is already specified"));
            }
            all.override_with(one);
        }
        Ok(all)
    }
}

impl Merge for PathsConfig {
    fn override_with(&mut self, later: Self) {
        self.data = later.data.or(self.data.take());
        self.stage1_images = later.stage1_images.or(self.stage1_images.take());
    }
}

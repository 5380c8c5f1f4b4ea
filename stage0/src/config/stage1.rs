//! `stage1.d`: which stage1 image runs pods, and on what terms.
//!
//! Responsible for: its fields. Must not know: how the image is found, what the terms mean to it. Follows rkt-reference.md 2.8 and 4.10.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Merge, files};
use crate::error::Result;

/// The `stage1` kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Stage1Config {
    /// Image name; given together with `version`.
    pub name: Option<String>,
    /// Value of the image's `version` label.
    pub version: Option<String>,
    /// Absolute path or URL of the image.
    pub location: Option<String>,
    /// Pods are refused that this host cannot confine in every way.
    pub jail: Option<Jail>,
}

/// What is asked of the walls around a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Jail {
    /// All of them.
    Strict,
}

impl Stage1Config {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut all = Stage1Config::default();
        for (path, one) in files::read::<Stage1Config>(directory, "stage1", &["stage1"])? {
            if one.name.is_some() != one.version.is_some() {
                return Err(files::invalid(&path, "name and version must be given together"));
            }
            if one.location.as_ref().is_some_and(|location| !is_location(location)) {
                return Err(files::invalid(
                    &path,
                    "location must be an absolute path or a file, http, https or docker URL",
                ));
            }
            if one.name.is_some() && all.name.is_some() {
                return Err(files::invalid(&path, "name and version of stage1 are already specified"));
            }
            if one.location.is_some() && all.location.is_some() {
                return Err(files::invalid(&path, "location of stage1 is already specified"));
            }
            if one.jail.is_some() && all.jail.is_some() {
                return Err(files::invalid(&path, "jail of stage1 is already specified"));
            }
            all.override_with(one);
        }
        Ok(all)
    }
}

impl Merge for Stage1Config {
    fn override_with(&mut self, later: Self) {
        self.name = later.name.or(self.name.take());
        self.version = later.version.or(self.version.take());
        self.location = later.location.or(self.location.take());
        self.jail = later.jail.or(self.jail);
    }
}

fn is_location(location: &str) -> bool {
    let schemes = ["file://", "http://", "https://", "docker://"];
    location.starts_with('/') || schemes.iter().any(|scheme| location.starts_with(scheme))
}

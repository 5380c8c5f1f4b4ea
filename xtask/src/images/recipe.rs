//! The form of an image recipe: which Debian packages the image is made of, and what has to be added or left out. Holds
//! no behaviour. An App Container image's (`images/NAME.json`) has the `app` section of its manifest (`spec/aci.md`,
//! "Image Manifest Schema"), an OCI image's (`images/oci/NAME.json`) the `config` section of its configuration
//! (`config.md`, "Properties"); both are copied as they stand.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One image.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// What the image is for, in a sentence; becomes the manifest's `description` annotation.
    pub(crate) description: String,
    /// The image's App Container name, or the name of its repository.
    pub(crate) name: String,
    /// The package whose upstream version becomes the image's; without one it is the workspace's version.
    pub(crate) version_of: Option<String>,
    /// The packages to install, with everything they depend on.
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Packages that are not installed although something depends on them, each with the reason.
    #[serde(default)]
    pub(crate) left_out: BTreeMap<String, String>,
    /// Binaries of this workspace, built static.
    #[serde(default)]
    pub(crate) binaries: Vec<Binary>,
    /// Paths of packages that are of no use in an image.
    #[serde(default)]
    pub(crate) drop: Vec<String>,
    /// Paths below dropped ones that are of use.
    #[serde(default)]
    pub(crate) keep: Vec<String>,
    /// Users to add beside root, each with a group of the same name and number.
    #[serde(default)]
    pub(crate) users: Vec<User>,
    /// Directories to create, or to give another mode and owner.
    #[serde(default)]
    pub(crate) directories: Vec<Directory>,
    /// Files that lie beside the recipe.
    #[serde(default)]
    pub(crate) files: Vec<File>,
    /// Symbolic links to create.
    #[serde(default)]
    pub(crate) symlinks: Vec<Symlink>,
    /// The manifest's `app` section, or the configuration's `config`.
    #[serde(alias = "config")]
    pub(crate) app: serde_json::Value,
    /// How an OCI image is published.
    #[serde(default)]
    pub(crate) form: Form,
}

/// The forms in which registries have images.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// As OCI writes it, with gzip.
    #[default]
    Oci,
    /// As OCI writes it, with zstd.
    OciZstd,
    /// As docker writes it: image manifest version 2, schema 2.
    Docker,
}

/// A binary of this workspace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Binary {
    /// Where it goes in the image.
    pub(crate) path: String,
    /// The crate that it is part of.
    pub(crate) package: String,
    /// Its name there.
    pub(crate) name: String,
}

/// A user and a group of the same name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// The name of both.
    pub(crate) name: String,
    /// The number of both.
    pub(crate) id: u32,
    /// The user's home directory.
    pub(crate) home: String,
}

/// A directory.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Directory {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Permission bits, octal.
    pub(crate) mode: String,
    /// Owner.
    #[serde(default)]
    pub(crate) uid: u32,
    /// Group.
    #[serde(default)]
    pub(crate) gid: u32,
}

/// A file that lies beside the recipe.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Path of its content, relative to the recipe.
    pub(crate) source: String,
    /// Permission bits, octal.
    pub(crate) mode: String,
}

/// A symbolic link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Symlink {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// What it points to.
    pub(crate) target: String,
}

/// Parses permission bits as recipes write them.
pub(crate) fn mode(text: &str) -> Result<u32> {
    u32::from_str_radix(text, 8).with_context(|| format!("{text:?} is not an octal mode"))
}

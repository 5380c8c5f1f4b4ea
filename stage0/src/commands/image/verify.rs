//! `rkt image verify`, and what other commands do with a tree that cannot be trusted.
//!
//! Responsible for: comparing rendered trees with what they were, and rendering anew those that changed. Must not know: how
//! a tree is hashed or rendered. Follows rkt-reference.md 1.6.

use std::path::Path;

use super::in_use::SettledPods;
use super::{find, open_store};
use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::store::{ImageStore, Key, TreeId, TreeStore, Verification};

/// Arguments of `rkt image verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    images: Vec<String>,
}

/// Verifies each image; those that can be verified are, whatever happens to the others.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    if arguments.images.is_empty() {
        return Err(Stage0Error::refused("must provide at least one image ID"));
    }
    let data = config::data_directory(globals)?;
    let stores = Stores {
        images: open_store(globals)?,
        trees: TreeStore::open(&data).context("cannot open treestore")?,
        data: &data,
    };
    let mut code = 0;
    for image in &arguments.images {
        if let Err(error) = stores.verify(image) {
            log.error(&error);
            code = EXIT_FAILURE;
        }
    }
    Ok(code)
}

struct Stores<'a> {
    images: ImageStore,
    trees: TreeStore,
    data: &'a Path,
}

impl Stores<'_> {
    fn verify(&self, image: &str) -> Result<()> {
        let key =
            find(&self.images, image).context(format!("unable to resolve store key for image {image}"))?;
        let trouble = match self.trees.verify(&self.images, &key) {
            Ok(Verification::Verified(_)) => {
                output::print(&format!(
                    "successfully verified checksum for image: {image:?} ({:?})",
                    key.as_str()
                ));
                return Ok(());
            }
            Ok(Verification::NotRendered) => {
                output::print(&format!("image {image:?} not rendered; no verification needed"));
                return Ok(());
            }
            Ok(Verification::Mismatch { expected, found, .. }) => {
                format!("wrong tree hash: {found}, expected: {expected}")
            }
            Ok(Verification::OtherForm(_)) => "it was rendered by another version of rkt".to_owned(),
            Err(error) => error.to_string(),
        };
        output::print(&format!(
            "tree cache verification failed for image {image}: {trouble};  rebuilding..."
        ));
        rebuild(self.data, &self.images, &self.trees, &key)
            .context(format!("unable to repair cache for image {image}"))?;
        Ok(())
    }
}

/// Renders an image's tree anew, unless a running pod has its file system on it.
pub(super) fn rebuild(data: &Path, images: &ImageStore, trees: &TreeStore, key: &Key) -> Result<TreeId> {
    let pods = SettledPods::of(data)?;
    let tree = trees.id(images, key).context("unable to get treestoreID")?;
    if let Some(uuid) = pods.running()?.get(&tree) {
        return Err(Stage0Error::refused(format!(
            "pod {uuid} is running on the tree; stop it first, or its files would vanish under it"
        )));
    }
    trees.render_again(images, key).context("error rendering ACI")
}

//! `rkt image render`.
//!
//! Responsible for: a copy of what an app of the image would see, in a directory of the user's. Must not know: how a tree
//! is rendered or copied. Follows rkt-reference.md 1.6.

use super::directory::DirectoryArguments;
use super::verify::rebuild;
use super::{find, open_store};
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result};
use crate::log::Log;
use crate::pod::copy::copy_tree;
use crate::store::{TreeStore, Verification};

/// Mode of the manifest, as it is in rkt.
const MANIFEST_MODE: u32 = 0o700;

/// Renders the image and everything it depends on, and copies the result.
pub fn run(arguments: &DirectoryArguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let data = config::data_directory(globals)?;
    let store = open_store(globals)?;
    let trees = TreeStore::open(&data).context("cannot open treestore")?;
    let key = find(&store, arguments.image())?;
    let output = arguments.begin(&data)?;
    let mut tree = trees.render(&store, &key).context("error rendering ACI")?;
    if !matches!(trees.verify(&store, &key), Ok(Verification::Verified(_))) {
        log.print("warning: tree cache is in a bad state. Rebuilding...");
        tree = rebuild(&data, &store, &trees, &key)?;
    }
    copy_tree(&trees.rootfs(&tree), &output.rootfs(), None).context("error copying ACI rootfs")?;
    let manifest = store.manifest_json(&key).context("error getting manifest")?;
    output.finish(&manifest, MANIFEST_MODE)?;
    Ok(0)
}

//! `rkt image extract`.
//!
//! Responsible for: the files of one image, without its dependencies, in a directory of the user's. Must not know: how they
//! are extracted. Follows rkt-reference.md 1.6.

use std::os::unix::fs::{DirBuilderExt, chown};

use super::directory::DirectoryArguments;
use super::{find, open_store};
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, FileContext, Result};

/// Mode of the manifest.
const MANIFEST_MODE: u32 = 0o644;
/// Mode of the root of an image that has no entry for it.
const ROOTFS_MODE: u32 = 0o755;

/// Extracts the image.
pub fn run(arguments: &DirectoryArguments, globals: &GlobalFlags) -> Result<u8> {
    let store = open_store(globals)?;
    let key = find(&store, arguments.image())?;
    let output = arguments.begin(&config::data_directory(globals)?)?;
    let rootfs = output.rootfs();
    if !arguments.rootfs_only {
        std::fs::DirBuilder::new().mode(ROOTFS_MODE).create(&rootfs).file("create", &rootfs)?;
    }
    // A set-group-ID bit above hands down a group that is none of the image's.
    chown(&rootfs, None, Some(rustix::process::getegid().as_raw())).file("change", &rootfs)?;
    store.extract_to(&key, &rootfs).context("error extracting ACI")?;
    let manifest = store.manifest_json(&key).context("error reading ACI from the store")?;
    output.finish(&manifest, MANIFEST_MODE)?;
    Ok(0)
}

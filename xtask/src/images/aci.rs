//! Packs a root file system and its manifest as an App Container image: a gzip-compressed tar archive of `manifest` and
//! `rootfs/` (App Container specification 0.8, `spec/aci.md`, "Image Archives"). Entries have one order and one time, so
//! that equal content gives an equal image ID.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::Builder;

use super::archive;
use super::recipe::Recipe;
use super::tree::{Kind, Node, Tree};

/// The App Container version that the manifests follow.
const APPC_VERSION: &str = "0.8.11";

/// The image manifest of a recipe.
pub(crate) fn manifest(recipe: &Recipe, version: &str) -> Value {
    json!({
        "acKind": "ImageManifest",
        "acVersion": APPC_VERSION,
        "name": recipe.name,
        "labels": [
            { "name": "version", "value": version },
            { "name": "os", "value": "linux" },
            { "name": "arch", "value": "amd64" },
        ],
        "app": recipe.app,
        "annotations": [ { "name": "description", "value": recipe.description } ],
    })
}

/// Writes the image to `path`, which appears only when it is complete.
pub(crate) fn write(tree: &Tree, manifest: &Value, path: &Path) -> Result<()> {
    let incoming = path.with_extension("aci.new");
    let file = File::create(&incoming).with_context(|| format!("creating {}", incoming.display()))?;
    let compressor = GzBuilder::new().mtime(0).write(io::BufWriter::new(file), Compression::default());
    let mut archive = Builder::new(compressor);

    let manifest = serde_json::to_vec_pretty(manifest).context("writing the manifest")?;
    archive::append(
        &mut archive,
        "",
        "manifest",
        &Node { mode: 0o644, owner: (0, 0), kind: Kind::File(manifest) },
    )?;
    archive::append(&mut archive, "", "rootfs", &Node { mode: 0o755, owner: (0, 0), kind: Kind::Directory })?;
    for (name, node) in tree.nodes() {
        archive::append(&mut archive, "rootfs/", name, node).with_context(|| format!("adding {name}"))?;
    }
    let buffered = archive.into_inner().context("finishing the archive")?.finish().context("compressing")?;
    buffered.into_inner().context("writing the archive")?;
    fs::rename(&incoming, path).with_context(|| format!("putting {} in place", path.display()))
}

//! Packs a root file system and its manifest as an App Container image: a gzip-compressed tar archive of `manifest` and
//! `rootfs/` (App Container specification 0.8, `spec/aci.md`, "Image Archives"). Entries have one order and one time, so
//! that equal content gives an equal image ID.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::recipe::Recipe;
use super::tree::{Kind, Node, Tree};

/// The App Container version that the manifests follow.
const APPC_VERSION: &str = "0.8.11";

/// The time of every entry, 2026-01-01: the packages' own times would do, but not those of generated files.
const ENTRY_TIME: u64 = 1_767_225_600;

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
    append(&mut archive, "manifest", &Node { mode: 0o644, owner: (0, 0), kind: Kind::File(manifest) })?;
    append(&mut archive, "rootfs", &Node { mode: 0o755, owner: (0, 0), kind: Kind::Directory })?;
    for (name, node) in tree.nodes() {
        append(&mut archive, &format!("rootfs/{name}"), node).with_context(|| format!("adding {name}"))?;
    }
    let buffered = archive.into_inner().context("finishing the archive")?.finish().context("compressing")?;
    buffered.into_inner().context("writing the archive")?;
    fs::rename(&incoming, path).with_context(|| format!("putting {} in place", path.display()))
}

/// Appends one entry.
fn append<W: Write>(archive: &mut Builder<W>, name: &str, node: &Node) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.owner.0.into());
    header.set_gid(node.owner.1.into());
    header.set_mtime(ENTRY_TIME);
    header.set_size(0);
    match &node.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{name}/"), io::empty())
        }
        Kind::File(content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        Kind::HardLink(target) => {
            header.set_entry_type(EntryType::Link);
            archive.append_link(&mut header, name, format!("rootfs/{target}"))
        }
    }
}

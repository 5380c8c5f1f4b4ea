//! Packs a root file system, or what one adds to another, as a layer: a compressed tar archive that is known by two
//! digests, of the archive and of its compressed form (OCI image specification 1.1, `layer.md`, and `config.md` on diff
//! IDs). Does not know what images a layer is part of.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::archive;
use super::tree::Tree;

/// zstd's own default level.
const ZSTD_LEVEL: i32 = 3;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

/// A layer in the cache.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Layer {
    /// Digest of the archive.
    pub(crate) diff_id: String,
    /// Digest of the file.
    pub(crate) digest: String,
    /// Size of the file in bytes.
    pub(crate) size: u64,
    /// Its media type.
    pub(crate) media_type: String,
}

/// The compressed archive in a layer's directory.
pub(crate) fn blob(directory: &Path) -> PathBuf {
    directory.join("blob")
}

/// The layer in `directory`, which is made if it is not there.
pub(crate) fn ensure(
    directory: &Path,
    packing: Packing,
    make: impl FnOnce() -> Result<Tree>,
) -> Result<Layer> {
    let description = directory.join("layer.json");
    if let Ok(text) = fs::read(&description) {
        return serde_json::from_slice(&text).with_context(|| format!("reading {}", description.display()));
    }
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let layer = write(&make()?, packing, &blob(directory)).context("writing a layer")?;
    // The description comes last: without it the layer is made again.
    let text = serde_json::to_vec(&layer).context("describing a layer")?;
    fs::write(&description, text).with_context(|| format!("writing {}", description.display()))?;
    Ok(layer)
}

fn write(tree: &Tree, packing: Packing, path: &Path) -> io::Result<Layer> {
    let file = Hashing::new(BufWriter::new(File::create(path)?));
    let (media_type, (diff_id, _), file) = match packing {
        Packing::Gzip => {
            let compressor = GzBuilder::new().mtime(0).write(file, Compression::default());
            let (archive, compressor) = pack(tree, compressor)?;
            ("application/vnd.oci.image.layer.v1.tar+gzip", archive, compressor.finish()?)
        }
        Packing::Zstd => {
            let (archive, compressor) = pack(tree, zstd::Encoder::new(file, ZSTD_LEVEL)?)?;
            ("application/vnd.oci.image.layer.v1.tar+zstd", archive, compressor.finish()?)
        }
    };
    let (digest, size, mut file) = file.finish();
    file.flush()?;
    Ok(Layer { diff_id, digest, size, media_type: media_type.to_owned() })
}

/// Writes the archive; returns its digest and size, and what it was written into.
fn pack<W: Write>(tree: &Tree, writer: W) -> io::Result<((String, u64), W)> {
    let mut builder = tar::Builder::new(Hashing::new(writer));
    for (name, node) in tree.nodes() {
        archive::append(&mut builder, "", name, node)?;
    }
    let (digest, size, writer) = builder.into_inner()?.finish();
    Ok(((digest, size), writer))
}

/// A writer that computes the digest of what goes through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (String, u64, W) {
        (digest_text(self.hash), self.size, self.inner)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// `sha256:` and the hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

fn digest_text(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

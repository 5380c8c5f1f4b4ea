//! Taking an image apart while it streams into the store.
//!
//! Responsible for: one pass that hashes, counts and stores the uncompressed tar, checks every entry's name and finds
//! the manifest. Must not know: the store's directories or rows, threads. Follows rkt-reference.md 2.9 ("Import").

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use appc::ImageManifest;
use sha2::{Digest, Sha512};

use super::{Key, LAYERS_ANNOTATION, StoreError};
use crate::extract::{Archive, EntryKind, EntryName, ExtractError};

/// Largest uncompressed image or layer, which bounds what a few bytes of a decompression bomb can fill. The largest
/// images in use today, with whole machine-learning stacks, have a quarter of it.
pub(super) const MAX_IMAGE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// What the importer knows that the image does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Import {
    /// The image was asked for without a version.
    pub latest: bool,
}

/// What an image turned out to be.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub key: Key,
    pub manifest: ImageManifest,
    /// The manifest as it stands in the image: what rkt does not understand must not be lost.
    pub manifest_json: Vec<u8>,
    pub size: u64,
}

/// Reads the whole uncompressed image `source`, of at most `limit` bytes, and writes it to `file`, which is at `path`.
pub(super) fn unpack(
    source: impl BufRead,
    file: &File,
    path: &Path,
    limit: u64,
) -> Result<Unpacked, StoreError> {
    let mut tee = Tee { source, file, path, limit, passed: 0, hash: Sha512::new(), size: 0, failed: None };
    let found = read_entries(&mut tee);
    if let Some(error) = tee.failed.take() {
        return Err(error);
    }
    let (manifest, manifest_json) = found?;
    // Whoever sends an image with this annotation asks for layers of others' images by their names.
    if manifest.annotations.get(LAYERS_ANNOTATION).is_some() {
        return Err(StoreError::ForeignLayers);
    }
    Ok(Unpacked { key: Key::of(tee.hash), manifest, manifest_json, size: tee.size })
}

fn manifest_json<R: Read>(archive: &mut Archive<R>) -> Result<Vec<u8>, StoreError> {
    // One byte more than allowed is enough for the schema to refuse it by its size.
    let limit = appc::MAX_MANIFEST_BYTES as u64 + 1;
    let mut json = Vec::new();
    archive.data().take(limit).read_to_end(&mut json).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => ExtractError::truncated("it ends inside the manifest"),
        _ => ExtractError::Read(e),
    })?;
    Ok(json)
}

fn read_entries(tee: &mut impl Read) -> Result<(ImageManifest, Vec<u8>), StoreError> {
    let mut manifest = None;
    let mut has_rootfs = false;
    let mut archive = Archive::new(tee);
    while let Some(entry) = archive.next_entry()? {
        match EntryName::parse(&entry.name)? {
            EntryName::Top => {}
            EntryName::Rootfs(_) => {
                has_rootfs = true;
                if let EntryKind::HardLink(target) = &entry.kind {
                    EntryName::parse(target)?;
                }
            }
            EntryName::Manifest if manifest.is_some() => return Err(StoreError::SecondManifest),
            EntryName::Manifest => {
                let json = manifest_json(&mut archive)?;
                manifest = Some((ImageManifest::from_json(&json).map_err(StoreError::Manifest)?, json));
            }
        }
    }
    archive.finish()?;
    if !has_rootfs {
        return Err(StoreError::NoRootfs);
    }
    manifest.ok_or(StoreError::NoManifest)
}

/// Passes bytes on, and hashes and stores them on the way, a buffer of the source at a time.
struct Tee<'a, R> {
    source: R,
    file: &'a File,
    path: &'a Path,
    limit: u64,
    /// Bytes in the source's buffer that are hashed and stored, but not read yet.
    passed: usize,
    hash: Sha512,
    size: u64,
    /// Why storing failed: the reader downstream would call it an unreadable archive.
    failed: Option<StoreError>,
}

impl<R: BufRead> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.source.fill_buf()?;
        if self.passed == 0 {
            self.size = self.size.saturating_add(bytes.len() as u64);
            if self.size > self.limit {
                self.failed = Some(StoreError::TooLarge { limit: self.limit });
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.hash.update(bytes);
            if let Err(e) = self.file.write_all(bytes) {
                let kind = e.kind();
                self.failed = Some(StoreError::file("write", self.path)(e));
                return Err(kind.into());
            }
            self.passed = bytes.len();
        }
        let count = bytes.read(buffer)?;
        self.source.consume(count);
        self.passed = self.passed.saturating_sub(count);
        Ok(count)
    }
}

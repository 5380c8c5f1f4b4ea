//! A store in a directory of its own, for tests.

use std::path::{Path, PathBuf};

use appc::ImageManifest;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{DiffId, ImageStore, Import, Key, StoreError};
use crate::extract::test_archive::{TestArchive, manifest_json};

pub(super) struct Place {
    directory: TempDir,
    pub store: ImageStore,
}

impl Place {
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    pub fn below(parent: &Path) -> Self {
        let directory = tempfile::tempdir_in(parent).unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        Self { directory, store }
    }

    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    pub fn cas(&self) -> PathBuf {
        self.data_dir().join("cas")
    }

    pub fn import(&self, bytes: &[u8]) -> Result<Key, StoreError> {
        self.store.import(bytes, &Import::default())
    }

    /// Stores layers that are missing, and an image of them.
    pub fn import_layered(&self, name: &str, layers: &[&[u8]]) -> Result<Key, StoreError> {
        import_layered(&self.store, name, layers)
    }

    /// Everything in the store but its database and the locks of images that are there, relative to `cas`.
    pub fn files(&self) -> Vec<String> {
        files_below(&self.cas(), &["tmp", "blob", "imageManifest", "layer"])
    }

    /// The message of an import that must fail. The store must be as empty as before.
    pub fn refusal(&self, bytes: &[u8]) -> String {
        let error = self.import(bytes).unwrap_err().to_string();
        assert_eq!(self.files(), Vec::<String>::new(), "something of a refused image stayed");
        error
    }
}

pub(super) fn files_below(cas: &Path, directories: &[&str]) -> Vec<String> {
    let mut waiting: Vec<PathBuf> = directories.iter().map(|name| cas.join(name)).collect();
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.push(path.strip_prefix(cas).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}

/// An image with one file.
pub(super) fn image(name: &str) -> Vec<u8> {
    TestArchive::image(name).file("rootfs/f", name.as_bytes()).finish()
}

/// A layer with one file.
pub(super) fn layer(content: &[u8]) -> Vec<u8> {
    TestArchive::new().file("f", content).finish()
}

pub(super) fn diff_id(layer: &[u8]) -> DiffId {
    DiffId::of(Sha256::new_with_prefix(layer))
}

pub(super) fn manifest(name: &str) -> ImageManifest {
    ImageManifest::from_json(manifest_json(name, "").as_bytes()).unwrap()
}

pub(super) fn import_layered(store: &ImageStore, name: &str, layers: &[&[u8]]) -> Result<Key, StoreError> {
    let held = store.layers()?;
    for layer in layers {
        if let Some(import) = held.begin(&diff_id(layer))? {
            import.write(*layer)?;
        }
    }
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| diff_id(layer)).collect();
    held.commit(&manifest(name), &diff_ids, &Import::default())
}

/// Damages a file in a way that its size does not show.
pub(super) fn damage(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    content[600] ^= 1;
    std::fs::write(path, content).unwrap();
}

//! Writing what the image store holds below a directory.
//!
//! Responsible for: extracting an image's archive or a layer, checked against the hash it is stored under unless this
//! very process has just stored it. Must not know: which tree they become part of. Follows rkt-reference.md 3.9.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha512};

use super::{DiffId, ImageStore, Key, KeyLock, StoreError};
use crate::extract::{Layout, Options, Selection, Source, extract};

/// The hashes this process has computed of what it stored. Those files need not be hashed once more to be believed.
#[derive(Debug, Default)]
pub(super) struct StoredHere(Mutex<HashSet<String>>);

impl StoredHere {
    /// Remembers a key or diff ID.
    pub fn add(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn contains(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl ImageStore {
    /// Writes the files of one image, without its dependencies, into the existing directory `target`.
    pub fn extract_to(&self, key: &Key, target: &Path) -> Result<(), StoreError> {
        let layers = self.layers_of(key)?;
        if layers.is_empty() {
            return self.extract_image(key, target, &Selection::default(), None);
        }
        layers.iter().try_for_each(|layer| self.extract_layer(layer, target, None))
    }

    /// Writes the selected files of an image's own archive into `target`. `lock` outlives the writing.
    pub(super) fn extract_image(
        &self,
        key: &Key,
        target: &Path,
        selection: &Selection,
        lock: Option<&KeyLock>,
    ) -> Result<(), StoreError> {
        let options = Options { layout: Layout::Image, selection: selection.clone() };
        let blob = self.read(key)?;
        if self.stored_here().contains(key.as_str()) {
            let file = blob.into_file();
            return Ok(extract(Source::File(file), target, &options, lock.map(AsFd::as_fd))?);
        }
        let mut blob = HashCheck::new(blob);
        extract(Source::Stream(&mut blob), target, &options, lock.map(AsFd::as_fd))?;
        blob.check(key)
    }

    /// Applies a layer to `target`. `lock` outlives the writing.
    pub(super) fn extract_layer(
        &self,
        layer: &DiffId,
        target: &Path,
        lock: Option<&KeyLock>,
    ) -> Result<(), StoreError> {
        let options = Options { layout: Layout::Layer, selection: Selection::default() };
        let mut reader = self.open_layer(layer)?;
        let source = match self.stored_here().contains(layer.as_str()) {
            true => Source::File(reader.into_file()),
            // Reading it to its end fails if it is not what it should be.
            false => Source::Stream(&mut reader),
        };
        extract(source, target, &options, lock.map(AsFd::as_fd))
            .map_err(|cause| StoreError::InLayer { diff_id: layer.to_string(), cause })
    }
}

/// Hashes a blob while it is read, to compare it with the key it is stored under.
pub(super) struct HashCheck<R> {
    source: R,
    hash: Sha512,
}

impl<R> HashCheck<R> {
    pub fn new(source: R) -> Self {
        Self { source, hash: Sha512::new() }
    }

    pub fn check(self, expected: &Key) -> Result<(), StoreError> {
        let found = Key::of(self.hash);
        if found == *expected {
            Ok(())
        } else {
            Err(StoreError::Corrupt { expected: expected.to_string(), found: found.to_string() })
        }
    }
}

impl<R: Read> Read for HashCheck<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

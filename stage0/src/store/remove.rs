//! Removing images, and the layers that no image uses any more.
//!
//! Responsible for: the order of removal, and leaving alone what others count on. Must not know: why something is
//! removed. Follows rkt-reference.md 1.6 (`rkt image rm`), 2.9 ("rows first, then files").

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::key_lock::{KeyLock, LockKind};
use super::{DiffId, ImageStore, Key, StoreError};
use crate::fault;

/// What became of an image that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The image is gone, but not all of its files; garbage collection will try again.
    pub stale_files: bool,
}

impl ImageStore {
    /// Removes an image, what is known of the URLs it came from, and the layers that no other image uses. Waits for
    /// its readers. Errors: [`StoreError::NoKey`] if there is none.
    pub fn remove(&self, key: &Key) -> Result<Removed, StoreError> {
        let lock = self.lock(key, LockKind::Exclusive)?;
        let (had_row, had_files) = (self.database().remove_image(key)?, self.blob_path(key).exists());
        fault::point("image-rm.row.removed");
        if !had_row && !had_files {
            self.remove_lock_file(key, lock);
            return Err(StoreError::NoKey);
        }
        let files_gone = self.remove_files(key);
        fault::point("image-rm.files.removed");
        self.remove_lock_file(key, lock);
        fault::point("image-rm.lock.removed");
        let layers_gone = self.remove_unused_layers()?;
        Ok(Removed { stale_files: !files_gone || !layers_gone })
    }

    /// Removes an image's files. The caller holds its lock, and its row is gone. False if one stayed.
    pub(super) fn remove_files(&self, key: &Key) -> bool {
        // The manifest last: where the blob is, the manifest is.
        [self.blob_path(key), self.manifest_path(key)].iter().all(|path| is_removed(path))
    }

    /// Removes the file that was the image's lock, which only its holder may.
    pub(super) fn remove_lock_file(&self, key: &Key, lock: KeyLock) {
        // One that stays is an empty file.
        let _ = std::fs::remove_file(self.lock_path(key));
        drop(lock);
    }

    /// Removes the layers that no image uses, unless somebody is using layers right now: then they are left to a later
    /// garbage collection. False if files stayed that could not be removed.
    pub(super) fn remove_unused_layers(&self) -> Result<bool, StoreError> {
        let directory = self.layer_directory();
        if !directory.is_dir() {
            return Ok(true);
        }
        let Some(_lock) = KeyLock::try_directory(&directory, LockKind::Exclusive)? else {
            return Ok(true);
        };
        let images = self.database().images()?;
        let used: HashSet<DiffId> =
            images.into_iter().flat_map(|image| image.layers).map(|layer| layer.diff_id).collect();
        let mut all_gone = true;
        for path in stored_files(&directory.join("sha256"))? {
            let name = path.file_name().and_then(|name| name.to_str());
            let layer = name.and_then(DiffId::from_file_name);
            if layer.is_none_or(|layer| !used.contains(&layer)) {
                all_gone &= is_removed(&path);
            }
        }
        Ok(all_gone)
    }
}

/// The files below a directory with one level of fan-out; none if it is not there.
pub(super) fn stored_files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for fan_out in entries(directory)? {
        if fan_out.is_dir() {
            files.extend(entries(&fan_out)?);
        }
    }
    Ok(files)
}

/// What is in a directory; nothing if it is not there.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let unreadable = |e| StoreError::file("read", directory)(e);
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(unreadable)?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(unreadable(e)),
    }
}

/// Removes a file. False if it stays.
fn is_removed(path: &Path) -> bool {
    match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

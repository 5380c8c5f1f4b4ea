//! Collecting images that nobody used for long, and files that no row knows.
//!
//! Responsible for: what `rkt image gc` does to the image store. Must not know: pods; the caller says which images they
//! use. Follows rkt-reference.md 2.7 ("`rkt image gc`", step b) and 3.11.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::key_lock::LockKind;
use super::remove::{entries, stored_files};
use super::temporary::remove_abandoned;
use super::{ImageInfo, ImageStore, Key, StoreError};
use crate::fault;

/// What garbage collection did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Images that are gone, the one that was used longest ago first.
    pub images: Vec<Key>,
    /// Some files could not be removed.
    pub stale_files: bool,
}

impl ImageStore {
    /// Removes the images that nobody used for `grace` and that are not `in_use`, and those that are not whole; then
    /// files that belong to no image: those of crashed imports and removals, layers that no image uses, abandoned files
    /// of `cas/tmp`. What somebody is reading or storing meanwhile is left alone.
    pub fn collect_images(&self, grace: Duration, in_use: &HashSet<Key>) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let mut images = self.database().images()?;
        images.sort_by_key(|image| image.last_used);
        let now = SystemTime::now();
        // What is not whole is no image, and in nobody's use.
        let is_due = |image: &ImageInfo| {
            !self.is_whole(image) || (!in_use.contains(&image.key) && is_over(image.last_used, grace, now))
        };
        for image in images.iter().filter(|image| is_due(image)) {
            self.collect_image(&image.key, is_due, &mut collected)?;
            fault::point("image-gc.image.removed");
        }
        self.collect_orphans(&mut collected)?;
        Ok(collected)
    }

    fn collect_image(
        &self,
        key: &Key,
        is_due: impl Fn(&ImageInfo) -> bool,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let Some(lock) = self.try_lock(key, LockKind::Exclusive)? else { return Ok(()) };
        // Somebody may have used it before it was locked.
        if self.database().image(key)?.as_ref().is_some_and(is_due) {
            self.database().remove_image(key)?;
            fault::point("image-gc.row.removed");
            collected.stale_files |= !self.remove_files(key);
            fault::point("image-gc.files.removed");
            collected.images.push(key.clone());
            self.remove_lock_file(key, lock);
        }
        Ok(())
    }

    fn collect_orphans(&self, collected: &mut Collected) -> Result<(), StoreError> {
        let known: HashSet<Key> = self.database().images()?.into_iter().map(|image| image.key).collect();
        let mut files = stored_files(&self.cas().join("blob/sha512"))?;
        files.extend(stored_files(&self.cas().join("imageManifest/sha512"))?);
        files.extend(entries(&self.lock_directory())?);
        for path in files {
            let key = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let Some(key) = key.filter(|key| !known.contains(key)) {
                self.collect_orphan(&key, collected)?;
            }
        }
        if self.database().remotes()?.iter().any(|remote| !known.contains(&remote.blob_key)) {
            self.database().remove_stale_remotes()?;
        }
        collected.stale_files |= !self.remove_unused_layers()?;
        remove_abandoned(&self.temporary_directory()?);
        Ok(())
    }

    /// Removes the files of a key without a row, its lock included, unless it is being imported.
    pub(super) fn collect_orphan(&self, key: &Key, collected: &mut Collected) -> Result<(), StoreError> {
        let Some(lock) = self.try_lock(key, LockKind::Exclusive)? else { return Ok(()) };
        // It may have been imported before it was locked.
        if self.database().image(key)?.is_none() {
            collected.stale_files |= !self.remove_files(key);
            self.remove_lock_file(key, lock);
        }
        Ok(())
    }
}

/// Whether an image last used at `used` has been unused for `grace`. A time in the future, the mistake of a clock,
/// counts as now.
fn is_over(used: SystemTime, grace: Duration, now: SystemTime) -> bool {
    now.duration_since(used).unwrap_or_default() >= grace
}

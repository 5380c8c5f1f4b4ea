//! The image store: uncompressed tars by hash, their manifests, and rows about both.
//!
//! Responsible for: import, look-up, reading and removal under each image's lock. Must not know: rendering, fetching.
//! Follows rkt-reference.md 2.1 (layout), 2.4 (locks), 2.9 (order of steps), 3.2 and 3.3 (look-up).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use appc::{AcIdentifier, ImageManifest, Labels};

use super::database::{Database, ImageInfo, Remote};
use super::import::{Import, unpack};
use super::key_lock::{KeyLock, LockKind};
use super::permissions::{DATA_DIRECTORY, SHARED_DIRECTORY, make_directory};
use super::temporary::{TemporaryFile, remove_abandoned};
use super::{Key, StoreError};

/// Characters of a full key, `sha512-` and 64 digits; longer IDs are cut to it.
const KEY_CHARS: usize = 71;
/// Fewest characters of an abbreviated key: `sha512-` and two digits.
const MIN_PREFIX_CHARS: usize = 9;

/// The store below one data directory. While it is open, no other process migrates it.
#[derive(Debug)]
pub struct ImageStore {
    cas: PathBuf,
    database: Database,
    _users: KeyLock,
}

impl ImageStore {
    /// Opens the store below `data_dir`, making what is missing.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let cas = data_dir.join("cas");
        make_directory(data_dir, DATA_DIRECTORY)?;
        make_directory(&cas, SHARED_DIRECTORY)?;
        let users = KeyLock::directory(&cas, LockKind::Shared)?;
        Ok(Self { database: Database::new(cas.join("db")), cas, _users: users })
    }

    /// Reads an image, compressed or not, to its end and stores it. Nothing of it stays if anything is wrong with it.
    /// An image that is there already stays as it is, but counts as imported now.
    pub fn import(&self, mut source: impl Read, import: &Import) -> Result<Key, StoreError> {
        match self.import_checked(&mut source, import, |_| Ok(true))? {
            Some(key) => Ok(key),
            None => Err(StoreError::NoKey),
        }
    }

    /// Like [`Self::import`], but asks `check` when everything is read, and before anything is kept. `None` means that
    /// `check` said no.
    pub fn import_checked<R: Read>(
        &self,
        source: &mut R,
        import: &Import,
        check: impl FnOnce(&mut R) -> io::Result<bool>,
    ) -> Result<Option<Key>, StoreError> {
        let directory = self.temporary_directory()?;
        remove_abandoned(&directory);
        let mut blob = TemporaryFile::create(&directory)?;
        let unpacked = unpack(&mut *source, blob.file())?;
        if !check(source).map_err(crate::extract::ExtractError::Read)? {
            return Ok(None);
        }
        let mut manifest = TemporaryFile::create(&directory)?;
        manifest
            .file()
            .write_all(&unpacked.manifest_json)
            .map_err(StoreError::file("write in", &directory))?;

        let key = unpacked.key;
        let _lock = self.lock(&key, LockKind::Exclusive)?;
        manifest.persist(&self.manifest_path(&key))?;
        // The blob last: where it is, the manifest is.
        blob.persist(&self.blob_path(&key))?;

        let now = SystemTime::now();
        let before = self.database.image(&key)?;
        self.database.put_image(&ImageInfo {
            key: key.clone(),
            name: unpacked.manifest.name.to_string(),
            import_time: now,
            last_used: now,
            latest: import.latest || before.as_ref().is_some_and(|image| image.latest),
            size: unpacked.size,
            tree_size: before.map_or(0, |image| image.tree_size),
        })?;
        Ok(Some(key))
    }

    /// The best image of this name that has all of `labels`: when no version is asked for, the latest before others;
    /// then the one imported last. The caller adds the host's `os` and `arch` to the labels where they matter.
    pub fn get_by_name(&self, name: &AcIdentifier, labels: &Labels) -> Result<Option<Key>, StoreError> {
        let mut images = self.database.images()?;
        images.retain(|image| image.name == name.as_str());
        let any_version = labels.get("version").is_none();
        images.sort_by_key(|image| (any_version && image.latest, image.import_time));
        for image in images.into_iter().rev() {
            match self.manifest(&image.key) {
                Ok(manifest) if manifest.labels.satisfy(labels) => return Ok(Some(image.key)),
                Ok(_) => {}
                // Removed between the look at the rows and the look at the manifest.
                Err(StoreError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The one image whose key begins with `prefix` (`sha512-` and at least two digits).
    pub fn resolve_key(&self, prefix: &str) -> Result<Key, StoreError> {
        if !prefix.starts_with("sha512-") {
            return Err(StoreError::KeyPrefix);
        }
        if prefix.len() < MIN_PREFIX_CHARS {
            return Err(StoreError::KeyTooShort);
        }
        let wanted = prefix.get(..KEY_CHARS).unwrap_or(prefix).to_ascii_lowercase();
        let images = self.database.images_with_prefix(&wanted)?;
        match images.as_slice() {
            [] => Err(StoreError::NoKey),
            [image] => Ok(image.key.clone()),
            _ => Err(StoreError::AmbiguousKey(prefix.to_owned())),
        }
    }

    /// The image's manifest.
    pub fn manifest(&self, key: &Key) -> Result<ImageManifest, StoreError> {
        ImageManifest::from_json(&self.manifest_json(key)?).map_err(StoreError::Manifest)
    }

    /// The image's manifest, byte for byte as in the image.
    pub fn manifest_json(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        let path = self.manifest_path(key);
        std::fs::read(&path).map_err(StoreError::file("read", &path))
    }

    /// The image's uncompressed tar. The image cannot be removed while it is being read; it counts as used now.
    pub fn read(&self, key: &Key) -> Result<Blob, StoreError> {
        let lock = self.lock(key, LockKind::Shared)?;
        let path = self.blob_path(key);
        let file = File::open(&path).map_err(StoreError::file("open", &path))?;
        self.database.update_image(key, |image| image.last_used = SystemTime::now())?;
        Ok(Blob { file, _lock: lock })
    }

    /// Records how large the image's rendered tree is.
    pub(super) fn set_tree_size(&self, key: &Key, bytes: u64) -> Result<(), StoreError> {
        self.database.update_image(key, |image| image.tree_size = bytes)
    }

    /// What is known of a URL; only if its image is still in the store.
    pub fn remote(&self, url: &str) -> Result<Option<Remote>, StoreError> {
        let remote = self.database.remote(url)?;
        Ok(remote.filter(|remote| self.blob_path(&remote.blob_key).exists()))
    }

    /// Records where an image came from.
    pub fn put_remote(&self, remote: &Remote) -> Result<(), StoreError> {
        self.database.put_remote(remote)
    }

    /// `cas/tmp`, for downloads; on the same file system as the blobs.
    pub fn temporary_directory(&self) -> Result<PathBuf, StoreError> {
        let path = self.cas.join("tmp");
        make_directory(&path, SHARED_DIRECTORY)?;
        Ok(path)
    }

    fn lock(&self, key: &Key, kind: LockKind) -> Result<KeyLock, StoreError> {
        KeyLock::acquire(&self.cas.join("imagelocks"), key.as_str(), kind)
    }

    fn blob_path(&self, key: &Key) -> PathBuf {
        self.cas.join("blob/sha512").join(key.fan_out()).join(key.as_str())
    }

    fn manifest_path(&self, key: &Key) -> PathBuf {
        self.cas.join("imageManifest/sha512").join(key.fan_out()).join(key.as_str())
    }
}

/// An image's uncompressed tar, locked against removal.
#[derive(Debug)]
pub struct Blob {
    file: File,
    _lock: KeyLock,
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

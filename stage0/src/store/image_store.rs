//! The image store: uncompressed tars by hash, their manifests, and rows about both.
//!
//! Responsible for: import, look-up, reading and removal under each image's lock. Must not know: rendering, fetching.
//! Follows rkt-reference.md 2.1 (layout), 2.4 (locks), 2.9 (order of steps), 3.2 and 3.3 (look-up).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use appc::{AcIdentifier, ImageManifest, Labels};

use super::contents::StoredHere;
use super::database::Database;
use super::import::{Import, Unpacked};
use super::import_stream::ImportStream;
use super::key_lock::{KeyLock, LockKind};
use super::permissions::{DATA_DIRECTORY, SHARED_DIRECTORY, make_directory};
use super::rows::{ImageInfo, Remote, StoredLayer};
use super::temporary::{TemporaryFile, remove_abandoned};
use super::{Key, StoreError};
use crate::extract::ExtractError;
use crate::fault;

/// Characters of a full key, `sha512-` and 64 digits; longer IDs are cut to it.
const KEY_CHARS: usize = 71;
/// Fewest characters of an abbreviated key: `sha512-` and two digits.
const MIN_PREFIX_CHARS: usize = 9;
/// How exactly the time of an image's last use is known. Grace periods count in hours.
const LAST_USED_RESOLUTION: Duration = Duration::from_secs(60);
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// The store below one data directory. While it is open, no other process migrates it.
#[derive(Debug)]
pub struct ImageStore {
    cas: PathBuf,
    database: Database,
    stored_here: StoredHere,
    _users: KeyLock,
}

impl ImageStore {
    /// Opens the store below `data_dir`, making what is missing.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let cas = data_dir.join("cas");
        make_directory(data_dir, DATA_DIRECTORY)?;
        make_directory(&cas, SHARED_DIRECTORY)?;
        let users = KeyLock::directory(&cas, LockKind::Shared)?;
        let database = Database::new(cas.join("db"));
        Ok(Self { cas, database, stored_here: StoredHere::default(), _users: users })
    }

    /// Begins to import an image, compressed or not, that the caller writes as it arrives.
    pub fn begin_import(&self, import: &Import) -> Result<ImportStream<'_>, StoreError> {
        ImportStream::begin(self, import)
    }

    /// Reads an image, compressed or not, to its end and stores it. Nothing of it stays if anything is wrong with it.
    /// An image that is there already is replaced, which heals it if it was damaged, and counts as imported now.
    pub fn import(&self, mut source: impl Read, import: &Import) -> Result<Key, StoreError> {
        let mut stream = self.begin_import(import)?;
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ExtractError::Read(e).into()),
            };
            // Why it failed, `finish` says.
            if stream.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                break;
            }
        }
        stream.finish()?.commit()
    }

    /// Makes an image that is whole in `cas/tmp` count: see [`super`] for the order of steps.
    pub(super) fn keep(
        &self,
        blob: TemporaryFile,
        unpacked: Unpacked,
        import: &Import,
        layers: Vec<StoredLayer>,
    ) -> Result<Key, StoreError> {
        let manifest = self.temporary_file()?;
        let written = manifest.file().write_all(&unpacked.manifest_json);
        written.map_err(StoreError::file("write", manifest.path()))?;
        fault::point("import.manifest.written");

        let key = unpacked.key.clone();
        let _lock = self.lock(&key, LockKind::Exclusive)?;
        let kept = self.keep_locked(blob, manifest, unpacked, import, layers);
        // Without a row it does not count, and only takes space. If that cannot be known, collection sees to it later.
        if kept.is_err() && matches!(self.database.image(&key), Ok(None)) {
            self.remove_files(&key);
        }
        kept?;
        fault::point("import.recorded");
        self.stored_here.add(key.as_str());
        Ok(key)
    }

    fn keep_locked(
        &self,
        blob: TemporaryFile,
        manifest: TemporaryFile,
        unpacked: Unpacked,
        import: &Import,
        layers: Vec<StoredLayer>,
    ) -> Result<(), StoreError> {
        let key = unpacked.key;
        manifest.persist(&self.manifest_path(&key))?;
        fault::point("import.manifest.kept");
        // The blob last: where it is, the manifest is.
        blob.persist(&self.blob_path(&key))?;
        fault::point("import.blob.kept");

        let now = SystemTime::now();
        let size = layers.iter().fold(unpacked.size, |bytes, layer| bytes.saturating_add(layer.size));
        self.database.record_image(&key, |before| ImageInfo {
            key: key.clone(),
            name: unpacked.manifest.name.to_string(),
            import_time: now,
            last_used: now,
            latest: import.latest || before.as_ref().is_some_and(|image| image.latest),
            size,
            tree_size: before.map_or(0, |image| image.tree_size),
            layers,
        })
    }

    /// All images, by key.
    pub fn images(&self) -> Result<Vec<ImageInfo>, StoreError> {
        let mut images = self.database.images()?;
        images.retain(|image| self.is_whole(image));
        Ok(images)
    }

    /// What is known of one image.
    pub fn info(&self, key: &Key) -> Result<Option<ImageInfo>, StoreError> {
        Ok(self.database.image(key)?.filter(|image| self.is_whole(image)))
    }

    /// Whether everything that an image's row promises is there. A row without its files is what a damaged file
    /// system leaves: such an image is not there, and the next fetch of it makes it whole.
    pub(super) fn is_whole(&self, image: &ImageInfo) -> bool {
        let has_bytes = |path: PathBuf, bytes| {
            path.symlink_metadata().is_ok_and(|file| file.is_file() && file.len() == bytes)
        };
        has_bytes(self.blob_path(&image.key), image.blob_bytes())
            && self.manifest_path(&image.key).is_file()
            && image.layers.iter().all(|layer| has_bytes(self.layer_path(&layer.diff_id), layer.size))
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
                Ok(manifest) if manifest.labels.satisfy(labels) && self.is_whole(&image) => {
                    return Ok(Some(image.key));
                }
                Ok(_) => {}
                // Removed between the look at the rows and the look at the manifest.
                Err(StoreError::NoImage(_)) => {}
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
        let mut images = self.database.images_with_prefix(&wanted)?;
        images.retain(|image| self.is_whole(image));
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
        std::fs::read(&path).map_err(|e| unusable("read", key, &path, e))
    }

    /// The image's uncompressed tar. The image cannot be removed while it is being read; it counts as used now.
    pub fn read(&self, key: &Key) -> Result<Blob, StoreError> {
        let lock = self.lock(key, LockKind::Shared)?;
        let path = self.blob_path(key);
        let file = File::open(&path).map_err(|e| unusable("open", key, &path, e))?;
        self.touch(key)?;
        Ok(Blob { file, _lock: lock })
    }

    /// Records that an image was used, unless that is recorded already: a write takes two syncs of the disk.
    fn touch(&self, key: &Key) -> Result<(), StoreError> {
        let now = SystemTime::now();
        let is_recent = |image: ImageInfo| {
            // A time in the future is the mistake of a clock, and would keep the image for ever.
            now.duration_since(image.last_used).is_ok_and(|age| age < LAST_USED_RESOLUTION)
        };
        if self.database.image(key)?.is_none_or(is_recent) {
            return Ok(());
        }
        self.database.update_image(key, |image| image.last_used = now)
    }

    /// Records how large the image's rendered tree is.
    pub fn set_tree_size(&self, key: &Key, bytes: u64) -> Result<(), StoreError> {
        self.database.update_image(key, |image| image.tree_size = bytes)
    }

    /// What is known of a URL; only if its image is still in the store.
    pub fn remote(&self, url: &str) -> Result<Option<Remote>, StoreError> {
        let found = self.database.remote(url)?;
        Ok(found.filter(|(_, image)| self.is_whole(image)).map(|(remote, _)| remote))
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

    /// `cas/tmp/downloads`, for downloads that are gone on with after an interruption, each locked while somebody writes
    /// it. They are no unfinished files of the store's.
    pub fn download_directory(&self) -> Result<PathBuf, StoreError> {
        let path = self.cas.join("tmp/downloads");
        make_directory(&path, SHARED_DIRECTORY)?;
        Ok(path)
    }

    /// An unfinished file. Those of makers that are gone are removed first.
    pub(super) fn temporary_file(&self) -> Result<TemporaryFile, StoreError> {
        let directory = self.temporary_directory()?;
        remove_abandoned(&directory);
        TemporaryFile::create(&directory)
    }

    pub(super) fn cas(&self) -> &Path {
        &self.cas
    }

    pub(super) fn stored_here(&self) -> &StoredHere {
        &self.stored_here
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn lock(&self, key: &Key, kind: LockKind) -> Result<KeyLock, StoreError> {
        KeyLock::acquire(&self.lock_directory(), key.as_str(), kind)
    }

    pub(super) fn try_lock(&self, key: &Key, kind: LockKind) -> Result<Option<KeyLock>, StoreError> {
        KeyLock::try_acquire(&self.lock_directory(), key.as_str(), kind)
    }

    pub(super) fn lock_path(&self, key: &Key) -> PathBuf {
        self.lock_directory().join(key.as_str())
    }

    pub(super) fn lock_directory(&self) -> PathBuf {
        self.cas.join("imagelocks")
    }

    pub(super) fn blob_path(&self, key: &Key) -> PathBuf {
        self.cas.join("blob/sha512").join(key.fan_out()).join(key.as_str())
    }

    pub(super) fn manifest_path(&self, key: &Key) -> PathBuf {
        self.cas.join("imageManifest/sha512").join(key.fan_out()).join(key.as_str())
    }
}

fn unusable(operation: &'static str, key: &Key, path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NoImage(key.to_string()),
        _ => StoreError::file(operation, path)(error),
    }
}

/// An image's uncompressed tar, locked against removal.
#[derive(Debug)]
pub struct Blob {
    file: File,
    _lock: KeyLock,
}

impl Blob {
    /// The file without the lock: what is open stays readable when it is removed.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

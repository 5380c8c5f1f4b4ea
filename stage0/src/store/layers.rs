//! Layers of container images: uncompressed tars by hash, each stored once however many images share it.
//!
//! Responsible for: storing, reading and naming layers, and images made of them. Must not know: registries, whiteouts.
//! Follows the OCI image specification (`layer.md`, `config.md`).
//!
//! Locks: whoever counts on a layer holds `cas/layer` shared; whoever removes any holds it exclusively. A layer's
//! unfinished file in `cas/tmp` has its name, and its lock keeps two rkts from storing the same layer twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use appc::ImageManifest;
use sha2::{Digest, Sha256, Sha512};

use super::archive::empty_image;
use super::decompress::decompressed;
use super::import::{MAX_IMAGE_BYTES, Unpacked};
use super::key_lock::{KeyLock, LockKind};
use super::permissions::SHARED_DIRECTORY;
use super::pipe::{Cancellation, PipeReader, pipe};
use super::rows::StoredLayer;
use super::temporary::{TemporaryFile, is_named, make_directory_durably, remove_abandoned};
use super::{DiffId, ImageStore, Import, Key, LAYERS_ANNOTATION, StoreError};
use crate::fault;

/// What the unfinished file of a layer is called, before its own name.
const UNFINISHED_PREFIX: &str = "layer-";

/// The layers in the store. While this exists, none of them is removed.
#[derive(Debug)]
pub struct Layers<'s> {
    store: &'s ImageStore,
    /// Bytes of the layers that images use.
    sizes: HashMap<DiffId, u64>,
    _lock: KeyLock,
}

impl ImageStore {
    /// Protects all layers from removal, those there and those to come, as long as the result exists.
    pub fn layers(&self) -> Result<Layers<'_>, StoreError> {
        let directory = self.layer_directory();
        make_directory_durably(&directory, SHARED_DIRECTORY)?;
        let lock = KeyLock::directory(&directory, LockKind::Shared)?;
        let layers = self.database().images()?.into_iter().flat_map(|image| image.layers);
        let sizes = layers.map(|layer| (layer.diff_id, layer.size)).collect();
        Ok(Layers { store: self, sizes, _lock: lock })
    }

    /// The layers of an image, bottom first; none if it is an image of its own.
    pub fn layers_of(&self, key: &Key) -> Result<Vec<DiffId>, StoreError> {
        match self.manifest(key)?.annotations.get(LAYERS_ANNOTATION) {
            Some(list) => DiffId::parse_list(list),
            None => Ok(Vec::new()),
        }
    }

    /// A layer's uncompressed tar. No layer is removed while it is being read.
    pub fn open_layer(&self, layer: &DiffId) -> Result<LayerReader, StoreError> {
        let missing = || StoreError::NoLayer(layer.to_string());
        let lock = match KeyLock::directory(&self.layer_directory(), LockKind::Shared) {
            Err(StoreError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(missing());
            }
            other => other?,
        };
        let path = self.layer_path(layer);
        let file = File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => StoreError::file("open", &path)(e),
        })?;
        Ok(LayerReader { file, path, hash: Sha256::new(), layer: layer.clone(), _lock: lock })
    }

    pub(super) fn layer_directory(&self) -> PathBuf {
        self.cas().join("layer")
    }

    pub(super) fn layer_path(&self, layer: &DiffId) -> PathBuf {
        self.layer_directory().join("sha256").join(layer.fan_out()).join(layer.file_name())
    }
}

impl<'s> Layers<'s> {
    /// Whether a layer is stored, in full as far as its size tells.
    pub fn contains(&self, layer: &DiffId) -> bool {
        let size = self.sizes.get(layer);
        let found = self.store.layer_path(layer).metadata();
        found.is_ok_and(|file| file.is_file() && size.is_none_or(|size| *size == file.len()))
    }

    /// Begins to store a layer. Waits while somebody else stores it; `None` means that it is there by then.
    ///
    /// A thread that has begun one layer writes or drops it before it begins another: two that wait for each other's
    /// layers would wait for ever.
    pub fn begin(&self, layer: &DiffId) -> Result<Option<LayerImport<'_>>, StoreError> {
        if self.contains(layer) {
            return Ok(None);
        }
        let directory = self.store.temporary_directory()?;
        remove_abandoned(&directory);
        let name = format!("{UNFINISHED_PREFIX}{}", layer.file_name());
        let file = TemporaryFile::claim(&directory, &name)?;
        // Whoever had the file before may have stored the layer.
        if self.contains(layer) {
            return Ok(None);
        }
        let target = self.store.layer_path(layer);
        Ok(Some(LayerImport { file, target, layer: layer.clone(), layers: self }))
    }

    /// Stores the image that consists of these layers, bottom first, all of which are stored. The image's archive is
    /// `manifest` with an annotation that names the layers, so its key depends on them all.
    pub fn commit(
        &self,
        manifest: &ImageManifest,
        layers: &[DiffId],
        import: &Import,
    ) -> Result<Key, StoreError> {
        DiffId::check_count(layers)?;
        let stored = self.stored(layers)?;
        let mut manifest = manifest.clone();
        let annotation = LAYERS_ANNOTATION.parse().map_err(StoreError::Manifest)?;
        manifest.annotations.set(annotation, DiffId::list(layers));

        let blob = self.store.temporary_file()?;
        let unwritable = |e| StoreError::file("write", blob.path())(e);
        let manifest_json = serde_json::to_vec(&manifest).map_err(|e| unwritable(e.into()))?;
        // What could not be read back must not get in.
        let manifest = ImageManifest::from_json(&manifest_json).map_err(StoreError::Manifest)?;
        let archive = empty_image(&manifest_json).map_err(unwritable)?;
        blob.file().write_all(&archive).map_err(unwritable)?;
        let key = Key::of(Sha512::new_with_prefix(&archive));
        let size = archive.len() as u64;
        self.store.keep(blob, Unpacked { key, manifest, manifest_json, size }, import, stored)
    }

    fn stored(&self, layers: &[DiffId]) -> Result<Vec<StoredLayer>, StoreError> {
        let distinct: HashSet<&DiffId> = layers.iter().collect();
        let stored = distinct.into_iter().map(|layer| {
            let path = self.store.layer_path(layer);
            match path.metadata() {
                Ok(file) => Ok(StoredLayer { diff_id: layer.clone(), size: file.len() }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::NoLayer(layer.to_string())),
                Err(e) => Err(StoreError::file("stat", &path)(e)),
            }
        });
        stored.collect()
    }
}

/// A layer about to be stored, by nobody else. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct LayerImport<'l> {
    file: TemporaryFile,
    target: PathBuf,
    layer: DiffId,
    layers: &'l Layers<'l>,
}

impl LayerImport<'_> {
    /// Reads the layer, compressed or not, to its end and stores it if it is the one it should be. Returns its bytes
    /// when uncompressed. Reading and decompressing happen in a thread of their own; an error of `source` is the
    /// cause of [`StoreError::ReadLayer`].
    pub fn write(self, source: impl Read + Send) -> Result<u64, StoreError> {
        let cancellation = Cancellation::default();
        let (uncompressed, tar) = pipe(&cancellation);
        let (bytes, found) = std::thread::scope(|scope| {
            let decompressor = std::thread::Builder::new().name("decompress".to_owned());
            decompressor
                .spawn_scoped(scope, move || uncompressed.finish_with(decompressed(source)))
                .map_err(StoreError::Thread)?;
            self.store(tar)
        })?;
        if found != self.layer {
            let (expected, found) = (self.layer.to_string(), found.to_string());
            return Err(StoreError::WrongLayer { expected, found });
        }
        fault::point("layer.written");
        self.file.persist(&self.target)?;
        fault::point("layer.kept");
        self.layers.store.stored_here().add(self.layer.as_str());
        Ok(bytes)
    }

    /// Takes the reader, so that the thread before it stops when this does.
    fn store(&self, mut tar: PipeReader) -> Result<(u64, DiffId), StoreError> {
        use io::BufRead;
        let mut hash = Sha256::new();
        let mut size = 0_u64;
        loop {
            let bytes = tar
                .fill_buf()
                .map_err(|cause| StoreError::ReadLayer { diff_id: self.layer.to_string(), cause })?;
            if bytes.is_empty() {
                return Ok((size, DiffId::of(hash)));
            }
            size = size.saturating_add(bytes.len() as u64);
            if size > MAX_IMAGE_BYTES {
                let diff_id = self.layer.to_string();
                return Err(StoreError::LayerTooLarge { diff_id, limit: MAX_IMAGE_BYTES });
            }
            hash.update(bytes);
            self.file.file().write_all(bytes).map_err(StoreError::file("write", self.file.path()))?;
            let count = bytes.len();
            tar.consume(count);
        }
    }
}

/// A layer's uncompressed tar, locked against removal. Reading it to the end fails if it is not what its name says, and
/// removes it then: the next fetch of its image stores it anew.
#[derive(Debug)]
pub struct LayerReader {
    file: File,
    path: PathBuf,
    hash: Sha256,
    layer: DiffId,
    _lock: KeyLock,
}

impl LayerReader {
    /// The file without the check and the lock: what is open stays readable when it is removed.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        if count == 0 && !buffer.is_empty() {
            let found = DiffId::of(self.hash.clone());
            if found != self.layer {
                // Another reader may have removed it already, and a fetch stored it anew.
                if is_named(&self.file, &self.path) {
                    // One that stays is found damaged again.
                    let _ = std::fs::remove_file(&self.path);
                }
                let (expected, found) = (self.layer.to_string(), found.to_string());
                return Err(io::Error::other(StoreError::WrongLayer { expected, found }));
            }
        }
        Ok(count)
    }
}

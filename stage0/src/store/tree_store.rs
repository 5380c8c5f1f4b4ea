//! The tree store: images as directories, ready to be a lower layer of an overlay.
//!
//! Responsible for: rendering an image with its dependencies once, whole or not at all, and removing it. Must not
//! know: pods, overlays. Follows rkt-reference.md 2.9 (layout, the `rendered` mark) and 2.4 (locks).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::dependencies::{Part, flatten};
use super::image_writer::write_image;
use super::key_lock::{KeyLock, LockKind};
use super::permissions::{DATA_DIRECTORY, SHARED_DIRECTORY, make_directory};
use super::temporary::sync_directory;
use super::tree_hash::summarise;
use super::{ImageStore, Key, StoreError, TreeId};
use crate::extract::{Layout, Options, Selection, Source, extract, remove_tree};
use crate::fault;

/// Only rkt may look below: files in there carry set-user-ID bits and capabilities.
const STORE_MODE: u32 = 0o2700;
/// The root of an image without an entry for it.
const ROOTFS_MODE: u32 = 0o755;

/// The tree store below one data directory.
#[derive(Debug)]
pub struct TreeStore {
    trees: PathBuf,
    locks: PathBuf,
}

impl TreeStore {
    /// Opens the store below `data_dir`, making what is missing.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let cas = data_dir.join("cas");
        make_directory(data_dir, DATA_DIRECTORY)?;
        make_directory(&cas, SHARED_DIRECTORY)?;
        let trees = cas.join("tree");
        make_directory(&trees, STORE_MODE)?;
        Ok(Self { trees, locks: cas.join("treestorelocks") })
    }

    /// Renders an image unless it is rendered already. Other processes that want the same tree wait for it.
    pub fn render(&self, images: &ImageStore, key: &Key) -> Result<TreeId, StoreError> {
        self.render_parts(images, key, &flatten(images, key)?)
    }

    /// Renders these parts, of which the first one's tree it counts as.
    pub(super) fn render_parts(
        &self,
        images: &ImageStore,
        key: &Key,
        parts: &[Part],
    ) -> Result<TreeId, StoreError> {
        let id = TreeId::of(parts.iter().map(|part| &part.key));
        {
            let _lock = self.lock(&id, LockKind::Shared)?;
            if self.is_rendered(&id) {
                return Ok(id);
            }
        }
        let lock = self.lock(&id, LockKind::Exclusive)?;
        // Somebody may have been faster between the locks.
        if self.is_rendered(&id) {
            return Ok(id);
        }
        self.remove_locked(&id)?;
        let tree = self.path(&id);
        let result = self.fill(images, key, &id, parts, &lock);
        if result.is_err() {
            // A tree without its mark is harmless, but it takes space and the image may never be asked for again.
            let _ = self.remove_locked(&id);
        }
        let bytes = result?;
        sync_directory(&tree)?;
        images.set_tree_size(key, bytes)?;
        fault::point("render.recorded");
        Ok(id)
    }

    fn fill(
        &self,
        images: &ImageStore,
        key: &Key,
        id: &TreeId,
        parts: &[Part],
        lock: &KeyLock,
    ) -> Result<u64, StoreError> {
        let tree = self.path(id);
        make_directory(&tree, STORE_MODE)?;
        fault::point("render.made");
        let rootfs = self.rootfs(id);
        std::fs::create_dir(&rootfs).map_err(StoreError::file("create", &rootfs))?;
        std::fs::set_permissions(&rootfs, std::fs::Permissions::from_mode(ROOTFS_MODE))
            .map_err(StoreError::file("set the mode of", &rootfs))?;
        // The store's own group, inherited from the directories above, is none of the image's.
        std::os::unix::fs::chown(&rootfs, None, Some(rustix::process::getegid().as_raw()))
            .map_err(StoreError::file("set the group of", &rootfs))?;
        self.write_parts(images, parts, &rootfs, lock)?;
        fault::point("render.extracted");
        write(&tree.join("manifest"), &images.manifest_json(key)?)?;
        let summary = summarise(&rootfs)?;
        write(&tree.join("hash"), summary.hash.as_bytes())?;
        fault::point("render.hashed");
        write(&tree.join("image"), key.as_str().as_bytes())?;
        // One sync of the file system instead of one for each of its files; only then the mark that it is whole.
        let directory = File::open(&tree).map_err(StoreError::file("open", &tree))?;
        rustix::fs::syncfs(&directory).map_err(StoreError::file("sync", &tree))?;
        fault::point("render.synced");
        write(&tree.join("rendered"), b"")?;
        fault::point("render.marked");
        Ok(summary.bytes)
    }

    fn write_parts(
        &self,
        images: &ImageStore,
        parts: &[Part],
        rootfs: &Path,
        lock: &KeyLock,
    ) -> Result<(), StoreError> {
        if let [part] = parts {
            let layers = images.layers_of(&part.key)?;
            for layer in &layers {
                images.extract_layer(layer, rootfs, Some(lock))?;
            }
            if !layers.is_empty() {
                return Ok(());
            }
        }
        // The image that wins comes first in the list, so it is written last, over the others. Writing in the other
        // order and skipping what is there would tie a lower image's hard links to an upper image's files.
        for part in parts.iter().rev() {
            if images.layers_of(&part.key)?.is_empty() {
                images.extract_image(&part.key, rootfs, &part.selection, Some(lock))?;
            } else {
                self.add_layered(images, part, rootfs, lock)?;
            }
        }
        Ok(())
    }

    /// Writes an image of layers over other images. Its whiteouts must not hide what those hold, so it is rendered by
    /// itself and written as one.
    fn add_layered(
        &self,
        images: &ImageStore,
        part: &Part,
        rootfs: &Path,
        lock: &KeyLock,
    ) -> Result<(), StoreError> {
        let alone = Part { key: part.key.clone(), selection: Selection::default() };
        let id = self.render_parts(images, &part.key, std::slice::from_ref(&alone))?;
        let _held = self.hold(&id)?;
        let layered = self.rootfs(&id);
        let broken = |e| StoreError::file("copy", &layered)(e);
        let (read_end, write_end) = io::pipe().map_err(broken)?;
        std::thread::scope(|scope| {
            let layered = &layered;
            let writer = std::thread::Builder::new()
                .spawn_scoped(scope, move || write_image(b"", layered, io::BufWriter::new(write_end)))
                .map_err(broken)?;
            let options = Options { layout: Layout::Image, selection: part.selection.clone() };
            let source = Source::File(File::from(OwnedFd::from(read_end)));
            let extracted = extract(source, rootfs, &options, Some(lock.as_fd()));
            // When extracting fails, the writer's broken pipe is only its consequence.
            let written = writer.join().unwrap_or_else(|_| Err(broken(io::ErrorKind::Other.into())));
            extracted?;
            written
        })
    }

    /// Keeps a tree from being removed or rendered anew as long as the result exists. Errors: if it is not rendered.
    pub fn hold(&self, id: &TreeId) -> Result<KeyLock, StoreError> {
        let lock = self.lock(id, LockKind::Shared)?;
        if self.is_rendered(id) { Ok(lock) } else { Err(StoreError::NotRendered(id.to_string())) }
    }

    /// The directory of a tree: `manifest`, `rootfs`, `hash`, `image`, `rendered`.
    pub fn path(&self, id: &TreeId) -> PathBuf {
        self.trees.join(id.as_str())
    }

    /// The rendered file system of a tree.
    pub fn rootfs(&self, id: &TreeId) -> PathBuf {
        self.path(id).join("rootfs")
    }

    /// Whether the tree is there and whole.
    pub fn is_rendered(&self, id: &TreeId) -> bool {
        self.path(id).join("rendered").exists()
    }

    /// All trees.
    pub(super) fn directory(&self) -> &Path {
        &self.trees
    }

    /// The caller holds the tree's lock exclusively.
    pub(super) fn remove_locked(&self, id: &TreeId) -> Result<(), StoreError> {
        let tree = self.path(id);
        let mark = tree.join("rendered");
        match std::fs::remove_file(&mark) {
            Ok(()) => sync_directory(&tree)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::file("remove", &mark)(e)),
        }
        fault::point("tree.unmarked");
        let trees = File::open(&self.trees).map_err(StoreError::file("open", &self.trees))?;
        remove_tree(trees.as_fd(), id.as_str().as_ref()).map_err(StoreError::file("remove", &tree))
    }

    pub(super) fn lock(&self, id: &TreeId, kind: LockKind) -> Result<KeyLock, StoreError> {
        KeyLock::acquire(&self.locks, id.as_str(), kind)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    File::create(path).and_then(|mut file| file.write_all(content)).map_err(StoreError::file("write", path))
}

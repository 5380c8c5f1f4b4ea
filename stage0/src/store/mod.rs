//! Images on disk: the image store (`cas/blob`, `cas/imageManifest`) and the tree store (`cas/tree`).
//!
//! Responsible for: importing, finding, reading, rendering and removing images, safe against a crash and against other
//! rkt processes at any point. Must not know: where images come from, signatures, pods. Follows rkt-reference.md 2.1,
//! 2.4, 2.9 and 3.9.
//!
//! # Order of steps
//!
//! Every step is on the disk before the next begins (fsync of the file, rename, fsync of the directory and of every
//! directory that had to be made), so that a crash or a power cut leaves a beginning of this list:
//!
//! 1. an unfinished file in `cas/tmp`, locked by its maker. Without its maker it is removed by the next import.
//! 2. each layer, under its name.
//! 3. the manifest, under the image's key.
//! 4. the blob, under the image's key.
//! 5. the row in the database. Only now the image is found.
//!
//! Removal goes backwards: row, blob, manifest, then the layers that no row names. What has no row is not believed and
//! is collected. A row whose files are missing or have other sizes, which no order of ours leaves but a damaged file
//! system may, is not believed either: the next fetch makes the image whole, or collection removes it. Bytes that changed
//! are noticed when they are rendered.
//!
//! # Order of locks
//!
//! `cas/layer` shared, then a layer's file in `cas/tmp`; an image's lock; `cas/db`. Nobody waits for one with a later one
//! in hand. Removal of layers takes `cas/layer` exclusively only if that needs no waiting, and collection an image's lock:
//! what is in use is left to the next collection.

mod archive;
mod collect;
mod contents;
mod database;
mod decompress;
mod dependencies;
mod diff_id;
mod error;
mod export;
mod image_store;
mod image_writer;
mod import;
mod import_stream;
mod key;
mod key_lock;
mod layers;
mod permissions;
mod pipe;
mod remove;
mod rows;
mod temporary;
mod tree_hash;
mod tree_info;
mod tree_store;
mod walk;

#[cfg(test)]
mod collect_test;
#[cfg(test)]
mod diff_id_test;
#[cfg(test)]
mod image_store_test;
#[cfg(test)]
mod image_writer_test;
#[cfg(test)]
mod import_stream_test;
#[cfg(test)]
mod interleaving_test;
#[cfg(test)]
mod key_test;
#[cfg(test)]
mod layers_test;
#[cfg(test)]
mod pipe_test;
#[cfg(test)]
mod remove_test;
#[cfg(test)]
mod test_place;
#[cfg(test)]
mod tree_store_test;

pub(crate) use decompress::decompressed;
pub use diff_id::DiffId;
pub use error::StoreError;
pub use export::standalone_manifest;
pub use image_store::ImageStore;
pub use image_writer::{IdShift, write_image, write_tree};
pub use import::Import;
pub use import_stream::{ImportStream, PendingImage};
pub use key::{Key, TreeId};
pub use key_lock::{KeyLock, LockKind};
pub use layers::Layers;
pub use rows::{ImageInfo, Remote};
pub use tree_info::Verification;
pub use tree_store::TreeStore;

/// Names the layers of an image converted from a container image: diff IDs, bottom first, joined by commas.
pub const LAYERS_ANNOTATION: &str = "coreos.com/rkt/oci/layers";

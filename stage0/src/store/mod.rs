//! Images on disk: the image store (`cas/blob`, `cas/imageManifest`) and the tree store (`cas/tree`).
//!
//! Responsible for: importing, finding, reading, rendering and removing images, safe against a crash and against other
//! rkt processes at any point. Must not know: where images come from, signatures, pods. Follows rkt-reference.md 2.1,
//! 2.4, 2.9 and 3.9.

mod archive;
mod collect;
mod contents;
mod database;
mod decompress;
mod dependencies;
mod diff_id;
mod error;
mod image_store;
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

pub use collect::Collected;
pub(crate) use decompress::decompressed;
pub use diff_id::DiffId;
pub use error::StoreError;
pub use image_store::ImageStore;
pub use import::{Import, peek_manifest};
pub use import_stream::{ImportStream, PendingImage};
pub use key::{Key, TreeId};
pub use key_lock::{KeyLock, LockKind};
pub use layers::{LayerImport, LayerReader, Layers};
pub use remove::Removed;
pub use rows::{ImageInfo, Remote, StoredLayer};
pub use tree_info::{TreeInfo, Verification};
pub use tree_store::TreeStore;

/// Names the layers of an image converted from a container image: diff IDs, bottom first, joined by commas.
pub const LAYERS_ANNOTATION: &str = "coreos.com/rkt/oci/layers";

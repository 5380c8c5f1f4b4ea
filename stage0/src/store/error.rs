//! What can go wrong in the stores.
//!
//! A cause of the kernel's stands in the message instead of behind it: rkt prints an error's outermost and innermost text
//! only (rkt-reference.md 1.1), and "No space left on device" alone names no file.

use std::io;
use std::path::{Path, PathBuf};

use super::LAYERS_ANNOTATION;
use crate::extract::ExtractError;

/// What can go wrong in the stores. Texts are rkt's where rkt has one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of a store could not be used.
    #[error("cannot {operation} {path:?}: {cause}")]
    File {
        /// A verb.
        operation: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The database of images could not be used.
    #[error("cannot use the image database {path:?}: {reason}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// What the database library said.
        reason: String,
    },
    /// A newer rkt wrote the database.
    #[error("image database has schema version {found}, this rkt knows {known}: use a newer rkt")]
    NewerSchema {
        /// The version found.
        found: u64,
        /// The newest version known.
        known: u64,
    },
    /// The image is no archive, or a hostile one.
    #[error(transparent)]
    Archive(#[from] ExtractError),
    /// The archive has no manifest.
    #[error("invalid image: it has no manifest")]
    NoManifest,
    /// The archive has no root file system.
    #[error("invalid image: it has no rootfs directory")]
    NoRootfs,
    /// Two manifests would leave open which one counts.
    #[error("invalid image: it has more than one manifest")]
    SecondManifest,
    /// The manifest is not one.
    #[error("invalid image manifest: {0}")]
    Manifest(appc::AppcError),
    /// The image names layers by an annotation that only rkt itself may set.
    #[error("invalid image: annotation {LAYERS_ANNOTATION} is reserved for images that rkt itself converted")]
    ForeignLayers,
    /// Not the name of a layer.
    #[error("{0:?} is not the diff ID of a layer (sha256: and 64 digits)")]
    DiffId(String),
    /// More layers than any image has.
    #[error("image has more than {limit} layers")]
    TooManyLayers {
        /// The limit.
        limit: usize,
    },
    /// A layer could not be read from where it comes from.
    #[error("cannot read layer {diff_id}: {cause}")]
    ReadLayer {
        /// Its name.
        diff_id: String,
        /// What its source said.
        cause: io::Error,
    },
    /// A layer is larger than any may be.
    #[error("layer {diff_id} is larger than {limit} bytes when uncompressed")]
    LayerTooLarge {
        /// Its name.
        diff_id: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A layer is not what the image's configuration says.
    #[error("layer {expected} does not match its diff ID: it is {found}")]
    WrongLayer {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A layer could not be applied.
    #[error("layer {diff_id}: {cause}")]
    InLayer {
        /// Which one.
        diff_id: String,
        /// Why.
        cause: ExtractError,
    },
    /// A layer that an image needs is not there.
    #[error("layer {0} is not in the store")]
    NoLayer(String),
    /// A thread of the import could not do its part.
    #[error("cannot store the image: a thread failed: {0}")]
    Thread(io::Error),
    /// The image is larger than any image may be.
    #[error("image is larger than {limit} bytes when uncompressed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not a key.
    #[error("wrong key prefix")]
    KeyPrefix,
    /// Too few digits to look for.
    #[error("image ID too short")]
    KeyTooShort,
    /// No image has such a key.
    #[error("no image IDs found")]
    NoKey,
    /// An image that was found is gone.
    #[error("image {0} is not in the store")]
    NoImage(String),
    /// Several images have such a key.
    #[error("ambiguous image ID: {0:?}")]
    AmbiguousKey(String),
    /// Not the ID of a rendered tree.
    #[error("{0:?} is not the ID of a rendered image")]
    TreeId(String),
    /// A tree was removed, or never finished.
    #[error("tree {0} is not rendered")]
    NotRendered(String),
    /// A blob does not have the hash that names it.
    #[error("image hash does not match expected: {found} is stored as {expected}")]
    Corrupt {
        /// What it is stored as.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A dependency is not in the store.
    #[error("image {image} depends on {dependency}, which is not in the store")]
    MissingDependency {
        /// The image that needs it.
        image: String,
        /// Name or ID of what it needs.
        dependency: String,
    },
    /// Dependencies in a circle, or very many of them.
    #[error("image {image} has more than {limit} dependencies, or depends on itself")]
    TooManyDependencies {
        /// The image.
        image: String,
        /// The limit.
        limit: usize,
    },
    /// The path of a lock was replaced again and again.
    #[error("cannot lock {0:?}: it keeps being replaced")]
    LockReplaced(PathBuf),
}

impl StoreError {
    /// Makes the error of a failed operation on `path`.
    pub fn file<E: Into<io::Error>>(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_owned();
        move |cause| Self::File { operation, path, cause: cause.into() }
    }
}

//! What can go wrong on the way to an image.
//!
//! A cause of the kernel's stands in the message instead of behind it: rkt prints an error's outermost and innermost text
//! only (rkt-reference.md 1.1), and "No space left on device" alone names no file.

use std::io;
use std::path::PathBuf;

use super::{DiscoveryError, HttpError, VerifyError};
use crate::keystore::KeystoreError;
use crate::oci::OciError;
use crate::oci::signature::SignatureError;
use crate::store::StoreError;

/// What rkt says when neither store nor network had an image.
const NOWHERE: &str = "either image was not found in the store or store was disabled and fetching from remote yielded \
     nothing or it was disabled";

/// What can go wrong on the way to an image. Texts are rkt's where rkt has one.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image string means nothing.
    #[error("invalid image string {reference:?}: {reason}")]
    InvalidReference {
        /// The image string.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No image of that name.
    #[error("unable to fetch image from image name {0:?}: {NOWHERE}")]
    NameNotFound(String),
    /// No image from that URL.
    #[error("unable to fetch image from URL {0:?}: {NOWHERE}")]
    UrlNotFound(String),
    /// A name that leads nowhere.
    #[error("discovery failed for {name:?}: {cause}")]
    Discovery {
        /// The name and labels that were asked for.
        name: String,
        /// Why.
        cause: DiscoveryError,
    },
    /// The image is another one than was asked for.
    #[error("the image that was found for {wanted:?} is another one: {what}")]
    WrongImage {
        /// The name and labels that were asked for.
        wanted: String,
        /// What differs.
        what: String,
    },
    /// An image needs itself.
    #[error("images depend on each other in a circle: {0}")]
    DependencyCycle(String),
    /// The image found by a dependency's name is not the one that the dependency wants.
    #[error("dependency {name:?} must have the image ID {wanted}, but the image that was found has {found}")]
    DependencyId {
        /// Its name.
        name: String,
        /// The ID it must have.
        wanted: String,
        /// The ID it has.
        found: String,
    },
    /// A server that has the image, and sends nothing.
    #[error("the image at {0} is empty")]
    Empty(String),
    /// The configuration could not be read.
    #[error("{0}")]
    Configuration(String),
    /// No image of that registry.
    #[error("unable to fetch docker image from URL {0:?}: {NOWHERE}")]
    DockerNotFound(String),
    /// An image of a registry or a layout.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// An image of a registry or a layout could not be believed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An image file could not be read.
    #[error("cannot read image {path:?}: {cause}")]
    ReadImage {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A signature file could not be read.
    #[error("cannot read signature {path:?} (sign the image, or use --insecure-options=image): {cause}")]
    ReadSignature {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A download failed.
    #[error("error downloading {what} from {url}: {cause}")]
    Download {
        /// `image` or `signature`.
        what: &'static str,
        /// From where.
        url: String,
        /// Why.
        cause: HttpError,
    },
    /// The server promised the signature for later and did not keep it.
    #[error(
        "signature at {0} was deferred by the server and is still not there after the image was downloaded"
    )]
    SignatureDeferred(String),
    /// The image could not be believed.
    #[error("signature of image {image:?} is not accepted: {cause}")]
    Verify {
        /// The image's name, or where it comes from while its name is not known.
        image: String,
        /// Why.
        cause: VerifyError,
    },
    /// An image file is not the one that was verified.
    #[error("image {0:?} changed while it was being read")]
    Changed(PathBuf),
    /// The trusted keys could not be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The store failed, or the image is invalid.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A download could not be kept, most likely because the disk is full.
    #[error("cannot write the download {path:?}: {cause}")]
    WriteDownload {
        /// The temporary file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
}

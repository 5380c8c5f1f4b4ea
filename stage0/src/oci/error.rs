//! What can go wrong with an image of a registry or an OCI layout.
//!
//! A cause of the kernel's or a server's stands in the message instead of behind it, as in `image::ImageError`.

use std::io;
use std::path::PathBuf;

use super::Digest;

/// What can go wrong with an image of a registry or an OCI layout. `what` names the manifest, configuration or layer.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Not the name of an image in a registry, or of one in a layout.
    #[error("invalid image reference {reference:?}: {reason}")]
    InvalidReference {
        /// What was typed.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a digest.
    #[error("invalid digest {0:?}: must be \"sha256:\" or \"sha512:\" and lower-case hexadecimal digits")]
    InvalidDigest(String),
    /// The bytes are not those that were asked for.
    #[error("{what} does not have its digest: expected {expected}, got {found}")]
    WrongDigest {
        /// What was read.
        what: String,
        /// The digest that names it.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// More or fewer bytes than announced.
    #[error("{what} does not have its size: expected {expected} bytes, got {found}")]
    WrongSize {
        /// What was read.
        what: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes received, at least.
        found: u64,
    },
    /// More bytes than it may have.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was to be read.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not the JSON that it should be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Well-formed, but nothing that rkt runs.
    #[error("{what} cannot be used: {reason}")]
    Unsupported {
        /// What was read.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Reading it stopped half-way.
    #[error("{what} could not be read to its end: {reason}")]
    Broken {
        /// What was read.
        what: String,
        /// Why.
        reason: String,
    },
    /// Credentials that are there cannot be used.
    #[error("credentials for registry {registry} from {source_name} cannot be used: {reason}")]
    Credentials {
        /// Host of the registry.
        registry: String,
        /// A file, or `the dockerAuth configuration`.
        source_name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A registry does not give what it was asked for.
    #[error("cannot get {what} from registry {registry}: {reason}")]
    Registry {
        /// Host of the registry.
        registry: String,
        /// What it was asked for.
        what: String,
        /// What it said, and what to do about it.
        reason: String,
    },
    /// The registry or the layout does not have it.
    #[error("{what} is not there")]
    Missing {
        /// What was asked for.
        what: String,
    },
    /// A file of a layout or an archive could not be read.
    #[error("cannot read {path:?}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A copy could not be kept, most likely because the disk is full.
    #[error("cannot write to {path:?}: {cause}")]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
}

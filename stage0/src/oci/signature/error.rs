//! Why an image of a registry is not believed.
//!
//! A cause stands in the message instead of behind it, as in `image::ImageError`.

use super::Refused;
use crate::error::Stage0Error;
use crate::image::VerifyError;
use crate::keystore::KeystoreError;
use crate::oci::{Digest, DockerReference, OciError};

/// Signatures whose refusal is told one by one; the others are counted.
const MAX_TOLD: usize = 5;

/// Why an image of a registry is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Nobody is trusted for images of this name.
    #[error(
        "image {image:?} cannot be verified: no key is trusted for {name:?} (run rkt trust --prefix {name:?} with the \
         publisher's key, or use --insecure-options=image)"
    )]
    NoKeys {
        /// As the user typed it.
        image: String,
        /// Name of the converted image.
        name: String,
    },
    /// There is no signature.
    #[error(
        "image {image:?} is not signed in a way that the keys trusted for {name:?} could verify (run rkt trust \
         --prefix {name:?} with another key of the publisher's, or use --insecure-options=image)"
    )]
    Unsigned {
        /// As the user typed it.
        image: String,
        /// Name of the converted image.
        name: String,
    },
    /// There are signatures, none of which is believed.
    #[error("no signature of image {image:?} is accepted: {reasons}")]
    Refused {
        /// As the user typed it.
        image: String,
        /// Each signature and what is wrong with it.
        reasons: String,
    },
    /// The trusted keys could not be read.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The lookaside configuration could not be read.
    #[error(transparent)]
    Configuration(Stage0Error),
    /// The reference makes no sense.
    #[error(transparent)]
    Reference(#[from] OciError),
}

impl SignatureError {
    pub(super) fn new(reference: &DockerReference, name: String, refused: Vec<Refused>) -> Self {
        let image = reference.typed().to_owned();
        if refused.is_empty() {
            return Self::Unsigned { image, name };
        }
        let told = refused.iter().take(MAX_TOLD).map(|one| format!("{}: {}", one.which, one.why));
        let mut reasons = told.collect::<Vec<_>>().join("; ");
        if let Some(more @ 1..) = refused.len().checked_sub(MAX_TOLD) {
            reasons.push_str(&format!("; and {more} more"));
        }
        Self::Refused { image, reasons }
    }
}

/// What is wrong with one signature.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Made by none of the bare public keys that count for the image.
    #[error("made by no key that is trusted for {0:?} (see rkt trust --help)")]
    UnknownKey(String),
    /// Bound to a certificate instead of a key.
    #[error(
        "made with a certificate (\"keyless\"), which rkt does not verify: the image has to be signed with a key"
    )]
    Certificate,
    /// OpenPGP says no.
    #[error("{0}")]
    OpenPgp(VerifyError),
    /// Of a trusted key, but for other content.
    #[error("it is for the manifest {found}, this image is {expected}")]
    OtherDigest {
        /// What it was made for.
        found: String,
        /// The image.
        expected: Digest,
    },
    /// Of a trusted key, but for another name.
    #[error("it is for an image named {found:?}, this one is {expected:?}")]
    OtherName {
        /// What it was made for.
        found: String,
        /// The image.
        expected: String,
    },
    /// Of a trusted key, but a statement of another kind, such as the result of a scan.
    #[error("it is a statement of type {0:?}, not a signature of the image")]
    OtherType(String),
    /// It cannot be understood.
    #[error("it is malformed: {0}")]
    Malformed(String),
    /// The registry or the lookaside server failed.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// More signatures than anybody makes.
    #[error("there are more than {0} signatures; the others were not looked at")]
    TooMany(usize),
}

impl From<OciError> for Refusal {
    fn from(error: OciError) -> Self {
        match error {
            OciError::Malformed { .. } => Self::Malformed(error.to_string()),
            error => Self::Unreadable(error.to_string()),
        }
    }
}

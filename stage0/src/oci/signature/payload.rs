//! What cosign's older signatures and simple signing both sign: a small JSON that names an image.
//!
//! Responsible for: decoding it strictly, and comparing it with the image at hand. Must not know: who signed it. Follows
//! containers/image's `docs/containers-signature.5.md`, "JSON data format".

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Refusal;
use crate::image::printable;
use crate::oci::{Digest, DockerReference, decode};

/// Largest payload. The fields that count take 300 bytes; signers may add annotations.
pub const MAX_PAYLOAD_BYTES: u64 = 64 * 1024;
/// Characters of a stranger's text in a message.
const SHOWN_CHARS: usize = 256;

/// Which of the two it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cosign's.
    Cosign,
    /// Simple signing's.
    Simple,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    /// Anything, and nothing that counts.
    #[serde(default, rename = "optional")]
    _optional: IgnoredAny,
}

/// What is in here must be understood completely, says the specification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

/// Checks that a payload, whose signature has been verified, is about this image. Simple signatures name the tag too, and
/// it must be the one that was asked for, unless a digest was; cosign's name the repository.
pub fn check(
    kind: Kind,
    payload: &[u8],
    digest: &Digest,
    reference: &DockerReference,
) -> Result<(), Refusal> {
    let critical = decode::<Payload>("payload", payload, MAX_PAYLOAD_BYTES)?.critical;
    let wanted = match kind {
        Kind::Cosign => "cosign container image signature",
        Kind::Simple => "atomic container signature",
    };
    if critical.kind != wanted {
        return Err(Refusal::OtherType(shown(&critical.kind)));
    }
    let found = critical.image.docker_manifest_digest;
    if found != digest.to_string() {
        return Err(Refusal::OtherDigest { found: shown(&found), expected: digest.clone() });
    }
    let found = critical.identity.docker_reference;
    let other = |expected: String| Refusal::OtherName { found: shown(&found), expected };
    let Ok(signed) = DockerReference::parse(&found) else {
        return Err(other(reference.docker_name()));
    };
    if signed.docker_name() != reference.docker_name() {
        return Err(other(reference.docker_name()));
    }
    if kind == Kind::Simple && reference.digest().is_none() {
        let tag = reference.tag().unwrap_or_default();
        // Asked for by tag, signed as `repository@digest`: nobody said that this tag is this image.
        if signed.digest().is_some() || signed.tag() != Some(tag) {
            return Err(other(format!("{}:{tag}", reference.docker_name())));
        }
    }
    Ok(())
}

/// As much of a stranger's text as belongs into a message.
pub fn shown(text: &str) -> String {
    printable(&text.chars().take(SHOWN_CHARS).collect::<String>())
}

//! Signatures and keys.
//!
//! Responsible for: everything that is read before a signature was verified. Must not know: what is signed.

use crate::image::check_issuer;
use crate::keystore::{PublicKey, keys_in};
use crate::oci::signature::payload;
use crate::oci::{Digest, DockerReference};

/// The image that payloads are about.
const IMAGE: &str = "example.com/image:1";

/// What an image's signature says: the first byte says in which form. Deep: a key whose fingerprint begins
/// with two zeros.
pub fn image_signature(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    let Ok(reference) = DockerReference::parse(IMAGE) else { return false };
    match kind {
        b'c' => {
            let _ = payload::check(payload::Kind::Cosign, bytes, &Digest::sha256(b""), &reference);
            false
        }
        b's' => {
            let _ = payload::check(payload::Kind::Simple, bytes, &Digest::sha256(b""), &reference);
            false
        }
        b'd' => PublicKey::from_der(bytes).is_ok_and(|key| {
            let deep = key.fingerprint().starts_with("00");
            let again = PublicKey::from_pem(key.to_pem().as_bytes());
            assert_eq!(again.ok().as_deref(), Some(&[key][..]), "a key does not survive");
            deep
        }),
        _ => false,
    }
}

/// A detached signature before it is verified, and keys that somebody is asked to trust: the first byte says which. Deep: an identity
/// with what must not reach a terminal.
pub fn openpgp(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    match kind {
        b's' => check_issuer(bytes, &[], "any image").is_ok(),
        b'k' => keys_in(bytes).is_ok_and(|keys| {
            let shown: Vec<String> = keys.iter().map(|key| key.shown()).collect();
            assert!(shown.iter().all(|text| !text.contains('\u{1b}')), "an escape sequence is shown");
            shown.iter().any(|text| text.contains('\u{fffd}'))
        }),
        _ => false,
    }
}

//! Signatures for pods.
//!
//! Responsible for: the key, which lives as long as the service, and what is signed. Must not know: HTTP, who may ask. Follows
//! rkt-reference.md 6.10 and RFC 2104.

use ring::hmac::{self, HMAC_SHA512, Key};
use uuid::Uuid;

use crate::error::{Context, Result};

/// As long as SHA-512's output.
const KEY_BYTES: usize = 64;

/// Signs with a key that nobody else has.
#[derive(Debug)]
pub struct Signer(Key);

impl Signer {
    /// With a new key.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        // The kernel fills up to 256 bytes in one call.
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .context("failed to generate HMAC Key")?;
        Ok(Self(Key::new(HMAC_SHA512, &bytes)))
    }

    /// The pod's signature of `content`.
    pub fn sign(&self, pod: Uuid, content: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(pod.as_bytes());
        context.update(content);
        context.sign().as_ref().to_vec()
    }

    /// Whether that is the pod's signature of `content`. Takes the same time whatever is wrong with it.
    pub fn verify(&self, pod: Uuid, content: &[u8], signature: &[u8]) -> bool {
        let message = [pod.as_bytes(), content].concat();
        hmac::verify(&self.0, &message, signature).is_ok()
    }
}

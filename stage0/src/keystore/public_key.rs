//! Bare public keys, with which cosign signs.
//!
//! Responsible for: PEM and DER of a key that the administrator or a web server hands in, its fingerprint, and checking
//! a signature with it. Must not know: what is signed, where keys are kept. Follows RFC 5280 4.1.2.7
//! (SubjectPublicKeyInfo), RFC 5480 (ECDSA), RFC 8017 A.1.1 (RSA), RFC 8410 (Ed25519) and cosign's
//! `specs/SIGNATURE_SPEC.md`.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::hex;

/// Largest key in DER: RSA with 8192 bits takes 1,062 bytes.
const MAX_DER_BYTES: usize = 2048;
/// Most keys in one file, as for whoever rolls keys over for many images.
const MAX_KEYS: usize = 64;
/// Fewest bits of an RSA modulus; NIST SP 800-131A has refused less since 2014, and so does the library.
const MIN_RSA_BITS: usize = 2048;
/// Most bits of an RSA modulus that the library takes.
const MAX_RSA_BITS: usize = 8192;
/// Characters of a line of PEM, RFC 7468.
const PEM_LINE_CHARS: usize = 64;

const OID_EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const TAG_INTEGER: u8 = 0x02;
const TAG_BIT_STRING: u8 = 0x03;
const TAG_OID: u8 = 0x06;
const TAG_SEQUENCE: u8 = 0x30;

/// Why some bytes are no public key that rkt can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not PEM, or PEM of something else.
    #[error("it has no \"BEGIN PUBLIC KEY\"")]
    NotPem,
    /// The secret half.
    #[error("it holds a private key; hand in the public key only")]
    Private,
    /// The structure inside is broken.
    #[error("malformed public key: {0}")]
    Malformed(&'static str),
    /// A kind of key that cannot be used.
    #[error("unsupported kind of public key: {0}")]
    Unsupported(&'static str),
    /// Too short to believe in.
    #[error("RSA key of {0} bits is too weak: {MIN_RSA_BITS} at least")]
    Weak(usize),
    /// Too many keys.
    #[error("it has more than {0} keys")]
    TooMany(usize),
}

/// How a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
    /// The key itself: a point, an RSAPublicKey, or 32 bytes.
    key: Vec<u8>,
}

impl PublicKey {
    /// All keys of a PEM file; one at least.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, PublicKeyError> {
        let mut keys = Vec::new();
        for der in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            if keys.len() >= MAX_KEYS {
                return Err(PublicKeyError::TooMany(MAX_KEYS));
            }
            let der = der.map_err(|_| PublicKeyError::Malformed("its PEM cannot be decoded"))?;
            keys.push(Self::from_der(&der)?);
        }
        match keys.is_empty() {
            true if contains(pem, b"PRIVATE KEY-----") => Err(PublicKeyError::Private),
            true => Err(PublicKeyError::NotPem),
            false => Ok(keys),
        }
    }

    /// Decodes a SubjectPublicKeyInfo.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        if der.len() > MAX_DER_BYTES {
            return Err(PublicKeyError::Malformed("it is too large"));
        }
        let mut outer = Der(der);
        let mut info = outer.take(TAG_SEQUENCE)?;
        outer.end()?;
        let mut algorithm = info.take(TAG_SEQUENCE)?;
        let bits = info.take(TAG_BIT_STRING)?;
        info.end()?;
        let oid = algorithm.take(TAG_OID)?.0;
        // The first byte of a bit string counts the bits of the last one that are not used.
        let key = bits.0.strip_prefix(&[0]).ok_or(PublicKeyError::Malformed("its key is no whole bytes"))?;
        let kind = match oid {
            OID_EC_PUBLIC_KEY => match algorithm.take(TAG_OID)?.0 {
                OID_P256 => Kind::P256,
                OID_P384 => Kind::P384,
                _ => return Err(PublicKeyError::Unsupported("ECDSA on another curve than P-256 and P-384")),
            },
            OID_RSA => Kind::Rsa,
            OID_ED25519 => Kind::Ed25519,
            _ => return Err(PublicKeyError::Unsupported("neither ECDSA, RSA nor Ed25519")),
        };
        match (kind, key.first(), key.len()) {
            (Kind::P256, Some(4), 65) | (Kind::P384, Some(4), 97) | (Kind::Ed25519, _, 32) => {}
            (Kind::Rsa, ..) => check_rsa(key)?,
            _ => return Err(PublicKeyError::Malformed("its key has a wrong length or form")),
        }
        Ok(Self { kind, der: der.to_vec(), key: key.to_vec() })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: 64 lower-case hexadecimal digits. What
    /// `openssl pkey -pubin -outform DER | sha256sum` says.
    pub fn fingerprint(&self) -> String {
        hex::lower(&Sha256::digest(&self.der))
    }

    /// As a PEM file.
    pub fn to_pem(&self) -> String {
        use base64::Engine;
        let text: Vec<char> = base64::engine::general_purpose::STANDARD.encode(&self.der).chars().collect();
        let lines: Vec<String> = text.chunks(PEM_LINE_CHARS).map(|line| line.iter().collect()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// As a person calls this kind of key.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "ECDSA P-256",
            Kind::P384 => "ECDSA P-384",
            Kind::Rsa => "RSA",
            Kind::Ed25519 => "Ed25519",
        }
    }

    /// Whether `signature` is this key's over `message`, with the hashes that cosign uses for its kind. (For P-384 older
    /// versions took SHA-256, newer ones take SHA-384.)
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithms: &[&'static dyn VerificationAlgorithm] = match self.kind {
            Kind::P256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Kind::P384 => &[&signature::ECDSA_P384_SHA384_ASN1, &signature::ECDSA_P384_SHA256_ASN1],
            Kind::Rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256],
            Kind::Ed25519 => &[&signature::ED25519],
        };
        let verify = |algorithm: &&'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(*algorithm, &self.key).verify(message, signature).is_ok()
        };
        algorithms.iter().any(verify)
    }
}

fn check_rsa(key: &[u8]) -> Result<(), PublicKeyError> {
    let mut outer = Der(key);
    let mut fields = outer.take(TAG_SEQUENCE)?;
    outer.end()?;
    let modulus = fields.take(TAG_INTEGER)?.0;
    fields.take(TAG_INTEGER)?;
    fields.end()?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    match (modulus.len() * 8).saturating_sub(unused) {
        bits if bits < MIN_RSA_BITS => Err(PublicKeyError::Weak(bits)),
        bits if bits > MAX_RSA_BITS => Err(PublicKeyError::Unsupported("RSA with more than 8192 bits")),
        _ => Ok(()),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// DER that is yet to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, which must have this tag and the shortest possible length.
    fn take(&mut self, tag: u8) -> Result<Der<'a>, PublicKeyError> {
        let (&found, rest) = self.0.split_first().ok_or(PublicKeyError::Malformed("it ends too soon"))?;
        if found != tag {
            return Err(PublicKeyError::Malformed("it has another structure"));
        }
        let wrong = PublicKeyError::Malformed("one of its lengths is wrong");
        let (length, rest) = match rest {
            [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
            [0x81, length @ 0x80..=0xff, rest @ ..] => (usize::from(*length), rest),
            [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
            _ => return Err(wrong),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(wrong)?;
        self.0 = rest;
        Ok(Der(content))
    }

    fn end(&self) -> Result<(), PublicKeyError> {
        if self.0.is_empty() { Ok(()) } else { Err(PublicKeyError::Malformed("it has more than a key")) }
    }
}

//! Detached OpenPGP signatures over images.
//!
//! Responsible for: whether one of the given keys made a signature that deserves belief today, and if not, why not. Must
//! not know: key files, images. Follows rkt-reference.md 3.6; the policy on algorithms is sequoia's standard one.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::cert::amalgamation::ValidAmalgamation;
use openpgp::packet::Signature;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
    VerifierBuilder,
};
use openpgp::parse::{PacketParser, PacketParserResult, Parse};
use openpgp::policy::{Policy, StandardPolicy};
use openpgp::types::{HashAlgorithm, RevocationStatus};
use openpgp::{Cert, Fingerprint, KeyHandle, Packet};

use crate::keystore::fingerprint;

/// Most signatures looked at in one file; publishers who roll keys over sign with two.
const MAX_SIGNATURES: usize = 16;

/// Why an image is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The file is no detached signature.
    #[error("malformed signature: {0}")]
    Malformed(String),
    /// Made by a key that nobody trusts for this image.
    #[error(
        "signature made by unknown entity: key {issuer} is not trusted for {scope} (see rkt trust --help)"
    )]
    Untrusted {
        /// Fingerprint or ID of the key.
        issuer: String,
        /// The image's name in quotes, or `any image`.
        scope: String,
    },
    /// The trusted key that made it has been revoked.
    #[error("key {fingerprint} ({identity}) is revoked: {reason}")]
    Revoked {
        /// Fingerprint.
        fingerprint: String,
        /// First identity.
        identity: String,
        /// What the revocation says.
        reason: String,
    },
    /// Made with a hash that can be forged.
    #[error(
        "signature uses {0}, which is no longer secure: the image has to be signed again with a better hash"
    )]
    WeakHash(String),
    /// The signature does not belong to this content.
    #[error("bad signature by key {fingerprint} ({identity}): the image was changed after it was signed")]
    Mismatch {
        /// Fingerprint.
        fingerprint: String,
        /// First identity.
        identity: String,
    },
    /// The key is expired, cannot sign, or is too weak.
    #[error("signature by key {fingerprint} ({identity}) is not valid: {reason}")]
    BadKey {
        /// Fingerprint.
        fingerprint: String,
        /// First identity.
        identity: String,
        /// What the policy said.
        reason: String,
    },
    /// The content could not be read.
    #[error("cannot read the signed image: {0}")]
    Read(String),
}

/// A valid signature's maker, as far as the keys say that were given to [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    /// Fingerprint of the certificate.
    pub certificate: Fingerprint,
    /// Fingerprint of the key in it that signed: the primary key or a subkey.
    pub key: Fingerprint,
    /// When, by the signer's own word.
    pub signed: SystemTime,
    /// Identities, printable.
    pub identities: Vec<String>,
}

/// Everyone whose signature over the content is valid; one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signers(pub Vec<Signer>);

impl Signers {
    /// The signer who is among `keys`, judged anew by the copies of the certificates in it. For callers that learn only
    /// from the verified content itself which keys count for it: they verify with [`Keystore::all`] and then ask this
    /// with [`Keystore::keyring`], where another copy of the certificate, with a revocation say, may count.
    ///
    /// [`Keystore::all`]: crate::keystore::Keystore::all
    /// [`Keystore::keyring`]: crate::keystore::Keystore::keyring
    pub fn counts_for(&self, keys: &[Cert], scope: &str) -> Result<&Signer, VerifyError> {
        let mut failure = None;
        for signer in &self.0 {
            let error = match keys.iter().find(|key| key.fingerprint() == signer.certificate) {
                Some(certificate) => match judge(certificate, signer) {
                    Ok(()) => return Ok(signer),
                    Err(error) => error,
                },
                None => {
                    VerifyError::Untrusted { issuer: signer.certificate.to_string(), scope: scope.to_owned() }
                }
            };
            failure.get_or_insert(error);
        }
        Err(failure.unwrap_or_else(|| VerifyError::Malformed("it contains no signature".to_owned())))
    }
}

/// Whether this copy of the signer's certificate says, too, that its key could sign then.
fn judge(certificate: &Cert, signer: &Signer) -> Result<(), VerifyError> {
    if let Some(revoked) = revocation(certificate).or_else(|| key_revocation(certificate, &signer.key)) {
        return Err(revoked);
    }
    let policy = StandardPolicy::new();
    let valid = certificate
        .with_policy(&policy, signer.signed)
        .map_err(|e| bad_key(certificate, printable(&e.to_string())))?;
    let could_sign =
        valid.keys().alive().revoked(false).for_signing().any(|key| key.key().fingerprint() == signer.key);
    if could_sign && valid.alive().is_ok() {
        return Ok(());
    }
    Err(bad_key(certificate, "the key was not allowed to sign then".to_owned()))
}

/// Checks before any download that `signature` is one, and that one of `keys` may have made it. `scope` is for the
/// message: what the keys are trusted for.
pub(crate) fn check_issuer(signature: &[u8], keys: &[Cert], scope: &str) -> Result<(), VerifyError> {
    let mut error = VerifyError::Malformed("it contains no signature".to_owned());
    for issuers in signatures(signature)? {
        match issuer_among(&issuers.issuers, keys) {
            Some(key) => match (revocation(key), issuers.weak_hash) {
                (Some(revoked), _) => error = revoked,
                (None, Some(hash)) => error = VerifyError::WeakHash(hash),
                (None, None) => return Ok(()),
            },
            None => {
                let issuer =
                    issuers.issuers.last().map_or_else(|| "(not named)".to_owned(), ToString::to_string);
                error = VerifyError::Untrusted { issuer, scope: scope.to_owned() };
            }
        }
    }
    Err(error)
}

/// Checks `signature` over all of `content`, which may arrive while this runs: in a thread of its own, fed by a channel.
/// Content is not read to its end when no trusted key can have made the signature, so whoever feeds it must expect
/// that nobody listens any more.
pub(crate) fn verify(
    signature: &[u8],
    content: impl Read + Send,
    keys: &[Cert],
    scope: &str,
) -> Result<Signers, VerifyError> {
    check_issuer(signature, keys, scope)?;
    let policy = StandardPolicy::new();
    let helper = Helper { keys, scope, outcome: None };
    let malformed = |e: &dyn std::fmt::Display| VerifyError::Malformed(e.to_string());
    let mut verifier = DetachedVerifierBuilder::from_bytes(signature)
        .and_then(|builder| builder.with_policy(&policy, None, helper))
        .map_err(|e| malformed(&e))?;
    let result = verifier.verify_reader(Exclusive(Mutex::new(content)));
    match (verifier.into_helper().outcome, result) {
        (Some(outcome), _) => outcome,
        (None, Err(e)) => Err(VerifyError::Read(e.to_string())),
        (None, Ok(())) => Err(VerifyError::Malformed("it contains no signature".to_owned())),
    }
}

/// Checks a signed message, armored or not, and returns its content of at most `limit` bytes.
pub(crate) fn verify_message(
    message: &[u8],
    keys: &[Cert],
    scope: &str,
    limit: u64,
) -> Result<(Vec<u8>, Signers), VerifyError> {
    let policy = StandardPolicy::new();
    let helper = Helper { keys, scope, outcome: None };
    let malformed = |e: &dyn std::fmt::Display| VerifyError::Malformed(printable(&e.to_string()));
    // Held back until the signature behind it has been verified; more than that is refused anyway.
    let held_back = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut verifier = VerifierBuilder::from_bytes(message)
        .and_then(|builder| builder.buffer_size(held_back).with_policy(&policy, None, helper))
        .map_err(|e| malformed(&e))?;
    let mut content = Vec::new();
    // A small message may expand to any size.
    let read = (&mut verifier).take(limit + 1).read_to_end(&mut content);
    if content.len() as u64 > limit {
        return Err(VerifyError::Malformed(format!("its message is larger than {limit} bytes")));
    }
    match (verifier.into_helper().outcome, read) {
        (Some(Ok(signers)), Ok(_)) => Ok((content, signers)),
        (Some(Err(e)), _) => Err(e),
        (_, Err(e)) => Err(malformed(&e)),
        (None, Ok(_)) => Err(VerifyError::Malformed("it contains no signature".to_owned())),
    }
}

/// A reader that one thread uses at a time. The library asks for `Sync`, which the end of a channel is not.
struct Exclusive<R>(Mutex<R>);

impl<R: Read> Read for Exclusive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

/// What a signature packet says of itself.
struct Claim {
    issuers: Vec<KeyHandle>,
    weak_hash: Option<String>,
}

fn signatures(bytes: &[u8]) -> Result<Vec<Claim>, VerifyError> {
    let malformed = |e: openpgp::anyhow::Error| VerifyError::Malformed(e.to_string());
    let mut claims = Vec::new();
    let mut parser = PacketParser::from_bytes(bytes).map_err(malformed)?;
    while let PacketParserResult::Some(packet) = parser {
        let (packet, next) = packet.next().map_err(malformed)?;
        let signature = match packet {
            Packet::Signature(signature) => signature,
            Packet::Marker(_) | Packet::Padding(_) => {
                parser = next;
                continue;
            }
            // A compressed packet, say, which the verifier would expand.
            _ => return Err(VerifyError::Malformed("it is not a detached signature".to_owned())),
        };
        if claims.len() >= MAX_SIGNATURES {
            return Err(VerifyError::Malformed(format!("it contains more than {MAX_SIGNATURES} signatures")));
        }
        let weak_hash = match signature.hash_algo() {
            hash @ (HashAlgorithm::MD5 | HashAlgorithm::SHA1 | HashAlgorithm::RipeMD) => {
                Some(hash.to_string())
            }
            _ => None,
        };
        claims.push(Claim { issuers: signature.get_issuers(), weak_hash });
        parser = next;
    }
    Ok(claims)
}

fn issuer_among<'a>(issuers: &[KeyHandle], keys: &'a [Cert]) -> Option<&'a Cert> {
    keys.iter().find(|cert| {
        let mut handles = cert.keys().map(|key| key.key().key_handle());
        handles.any(|handle| issuers.iter().any(|issuer| issuer.aliases(&handle)))
    })
}

/// Why a key must not be believed any more. Stricter than OpenPGP, which lets signatures from before a friendly
/// revocation stand: their dates are the signer's word only.
fn revocation(key: &Cert) -> Option<VerifyError> {
    let policy = StandardPolicy::new();
    match key.revocation_status(&policy, None) {
        RevocationStatus::Revoked(signatures) => Some(revoked(key, &key.fingerprint(), &signatures)),
        _ => None,
    }
}

/// The same for one key of a certificate, of which it is the primary key or a subkey.
fn key_revocation(certificate: &Cert, key: &Fingerprint) -> Option<VerifyError> {
    let policy = StandardPolicy::new();
    let mut keys = certificate.keys().with_policy(&policy, None);
    let amalgamation = keys.find(|candidate| candidate.key().fingerprint() == *key)?;
    match amalgamation.revocation_status() {
        RevocationStatus::Revoked(signatures) => Some(revoked(certificate, key, &signatures)),
        _ => None,
    }
}

fn revoked(certificate: &Cert, key: &Fingerprint, signatures: &[&Signature]) -> VerifyError {
    let reason = signatures.first().and_then(|signature| signature.reason_for_revocation());
    let reason = match reason {
        Some((code, text)) => printable(&format!("{code}. {}", String::from_utf8_lossy(text))),
        None => "no reason given".to_owned(),
    };
    let fingerprint = key.to_hex().to_ascii_lowercase();
    VerifyError::Revoked { fingerprint, identity: first_identity(certificate), reason }
}

fn first_identity(key: &Cert) -> String {
    identities(key).into_iter().next().unwrap_or_else(|| "no identity".to_owned())
}

/// A key's identities; the ones that its owner's signature binds, if any.
pub(super) fn identities(key: &Cert) -> Vec<String> {
    let policy = StandardPolicy::new();
    let bound: Vec<String> = key
        .with_policy(&policy as &dyn Policy, None)
        .map(|valid| valid.userids().map(|user| text_of(user.userid().value())).collect())
        .unwrap_or_default();
    if bound.is_empty() { key.userids().map(|user| text_of(user.userid().value())).collect() } else { bound }
}

fn text_of(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Text by a stranger, without the control characters that would let it write over what stands on the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>().trim().to_owned()
}

struct Helper<'a> {
    keys: &'a [Cert],
    scope: &'a str,
    outcome: Option<Result<Signers, VerifyError>>,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.keys.to_vec())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        let layers = structure.into_iter();
        let results = layers.filter_map(|layer| match layer {
            MessageLayer::SignatureGroup { results } => Some(results),
            _ => None,
        });
        let mut failure = None;
        let mut signers = Vec::new();
        for result in results.flatten() {
            let error = match result {
                Ok(good) => {
                    let (certificate, key) = (good.ka.cert(), good.ka.key().fingerprint());
                    match revocation(certificate).or_else(|| key_revocation(certificate, &key)) {
                        Some(revoked) => revoked,
                        None => {
                            signers.push(Signer {
                                certificate: certificate.fingerprint(),
                                key,
                                signed: good.sig.signature_creation_time().unwrap_or(SystemTime::UNIX_EPOCH),
                                identities: identities(certificate),
                            });
                            continue;
                        }
                    }
                }
                Err(e) => self.explain(e),
            };
            failure.get_or_insert(error);
        }
        self.outcome = match failure {
            _ if !signers.is_empty() => Some(Ok(Signers(signers))),
            failure => failure.map(Err),
        };
        Ok(())
    }
}

impl Helper<'_> {
    fn explain(&self, error: VerificationError<'_>) -> VerifyError {
        let chain = |error: &openpgp::anyhow::Error| {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            printable(&causes.join(": "))
        };
        match error {
            VerificationError::MissingKey { sig } => VerifyError::Untrusted {
                issuer: sig
                    .get_issuers()
                    .last()
                    .map_or_else(|| "(not named)".to_owned(), ToString::to_string),
                scope: self.scope.to_owned(),
            },
            VerificationError::UnboundKey { cert, error, .. } => {
                revocation(cert).unwrap_or_else(|| bad_key(cert, chain(&error)))
            }
            VerificationError::BadKey { ka, error, .. } => {
                let (cert, key) = (ka.cert(), ka.key().fingerprint());
                let revoked = revocation(cert).or_else(|| key_revocation(cert, &key));
                revoked.unwrap_or_else(|| bad_key(cert, chain(&error)))
            }
            VerificationError::BadSignature { ka, error, .. } => {
                let cert = ka.cert();
                match error.downcast_ref::<openpgp::Error>() {
                    Some(openpgp::Error::ManipulatedMessage | openpgp::Error::BadSignature(_)) => {
                        VerifyError::Mismatch {
                            fingerprint: fingerprint(cert),
                            identity: first_identity(cert),
                        }
                    }
                    _ => revocation(cert).unwrap_or_else(|| bad_key(cert, chain(&error))),
                }
            }
            VerificationError::MalformedSignature { error, .. } => VerifyError::Malformed(chain(&error)),
            other => VerifyError::Malformed(printable(&other.to_string())),
        }
    }
}

fn bad_key(cert: &Cert, reason: String) -> VerifyError {
    VerifyError::BadKey { fingerprint: fingerprint(cert), identity: first_identity(cert), reason }
}

//! Keys and signatures for tests.

use std::io::Write;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::armor::Kind;
use openpgp::cert::CertBuilder;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Armorer, Compressor, LiteralWriter, Message, Signer};
use openpgp::types::{CompressionAlgorithm, HashAlgorithm, ReasonForRevocation};

/// A key that can sign, made yesterday.
pub(crate) fn key(identity: &str) -> Cert {
    CertBuilder::new()
        .add_userid(identity)
        .add_signing_subkey()
        .set_creation_time(SystemTime::now() - Duration::from_secs(86_400))
        .generate()
        .unwrap()
        .0
}

/// The key after its owner revoked it.
pub(crate) fn revoked(key: &Cert, code: ReasonForRevocation) -> Cert {
    let mut signer = key.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let revocation = key.revoke(&mut signer, code, b"lost laptop").unwrap();
    key.clone().insert_packets(revocation).unwrap().0
}

/// An armored detached signature.
pub(crate) fn sign(key: &Cert, content: &[u8]) -> Vec<u8> {
    sign_with(key, content, HashAlgorithm::SHA512)
}

pub(crate) fn sign_with(key: &Cert, content: &[u8], hash: HashAlgorithm) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let valid = key.with_policy(&policy, None).unwrap();
    let secret = valid.keys().secret().for_signing().next().unwrap().key().clone();
    let mut armored = Vec::new();
    let message = Armorer::new(Message::new(&mut armored)).kind(Kind::Signature).build().unwrap();
    let signer = Signer::new(message, secret.into_keypair().unwrap()).unwrap();
    let mut signer = signer.hash_algo(hash).unwrap().detached().build().unwrap();
    signer.write_all(content).unwrap();
    signer.finalize().unwrap();
    armored
}

/// A signed message, compressed as gpg does it.
pub(crate) fn sign_message(key: &Cert, content: &[u8]) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let valid = key.with_policy(&policy, None).unwrap();
    let secret = valid.keys().secret().for_signing().next().unwrap().key().clone();
    let mut signed = Vec::new();
    let message = Compressor::new(Message::new(&mut signed)).algo(CompressionAlgorithm::Zip).build().unwrap();
    let signer = Signer::new(message, secret.into_keypair().unwrap()).unwrap().build().unwrap();
    let mut literal = LiteralWriter::new(signer).build().unwrap();
    literal.write_all(content).unwrap();
    literal.finalize().unwrap();
    signed
}

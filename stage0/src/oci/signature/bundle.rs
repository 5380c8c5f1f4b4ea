//! Sigstore bundles that refer to an image, which newer versions of cosign make.
//!
//! Responsible for: finding them, and judging each with the trusted public keys. Must not know: certificates and
//! transparency logs, which say nothing about a key that is trusted already. Follows the OCI distribution specification
//! 1.1 ("Listing Referrers", "Referrers Tag Schema"), sigstore's `protobuf-specs/protos/sigstore_bundle.proto` (0.3), the
//! DSSE protocol 1.0 and the in-toto statement 1.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

use super::cosign::signed_by;
use super::payload::shown;
use super::{Refusal, Refused, Signed, first_believed};
use crate::keystore::PublicKey;
use crate::oci::{Descriptor, Digest, DockerReference, Document, OciError, Repository, decode};

/// Begin of the media types of all versions.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";
const BUNDLE_VERSION: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// What a statement says that signs the image, and does not attest something about it.
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// Where registries copy the type of the statement to.
const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";
/// Largest bundle. A signature with its proofs takes 10 KiB; attestations, which may be megabytes, are not wanted.
const MAX_BUNDLE_BYTES: u64 = 256 * 1024;
/// Most signatures in one envelope.
const MAX_ENVELOPE_SIGNATURES: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct StatementSubject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// The first bundle that is believed; what is wrong with the others goes to `refused`.
pub(super) fn find(
    digest: &Digest,
    reference: &DockerReference,
    repository: &dyn Repository,
    keys: &[PublicKey],
    refused: &mut Vec<Refused>,
) -> Option<Signed> {
    let referrers = match referrers(digest, repository) {
        Ok(referrers) => referrers,
        Err(e) => {
            refused.push(Refused { which: "list of sigstore bundles".to_owned(), why: e.into() });
            return None;
        }
    };
    let bundles = referrers.iter().filter(|referrer| {
        let predicate = referrer.annotations.get(PREDICATE_ANNOTATION);
        let is_attestation = predicate.is_some_and(|predicate| predicate != SIGN);
        referrer.artifact_type.starts_with(BUNDLE_TYPE) && !is_attestation
    });
    first_believed("sigstore bundle", bundles, refused, |referrer| {
        judge(referrer, digest, reference, repository, keys)
    })
}

/// What refers to the manifest: by the registry's own list, else by the index that clients keep under a tag. Registries that
/// do not know the question refuse it with statuses of all sorts.
fn referrers(digest: &Digest, repository: &dyn Repository) -> Result<Vec<Descriptor>, OciError> {
    let listed = match repository.referrers(digest) {
        Ok(listed) if !listed.is_empty() => return Ok(listed),
        other => other,
    };
    let tag = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
    match repository.manifest(&tag)?.map(|raw| raw.parse()).transpose()? {
        Some(Document::Index(index)) => Ok(index.manifests),
        Some(Document::Manifest(_)) | None => listed,
    }
}

fn judge(
    referrer: &Descriptor,
    digest: &Digest,
    reference: &DockerReference,
    repository: &dyn Repository,
    keys: &[PublicKey],
) -> Result<Signed, Refusal> {
    let missing = || Refusal::Unreadable(format!("manifest {} is not there", referrer.digest));
    let raw = repository.manifest(&referrer.digest.to_string())?.ok_or_else(missing)?;
    let Document::Manifest(manifest) = raw.parse()? else {
        return Err(Refusal::Malformed("its manifest is an index".to_owned()));
    };
    let layer = manifest
        .layers
        .iter()
        .find(|layer| layer.media_type.starts_with(BUNDLE_TYPE))
        .ok_or_else(|| Refusal::Malformed("its manifest has no bundle".to_owned()))?;
    let bytes = repository.blob(&layer.digest, MAX_BUNDLE_BYTES)?;
    let bundle: Bundle = decode("bundle", &bytes, MAX_BUNDLE_BYTES)?;
    if bundle.media_type != BUNDLE_VERSION {
        return Err(Refusal::Malformed(format!("its version is {:?}", shown(&bundle.media_type))));
    }
    let material = &bundle.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err(Refusal::Certificate);
    }
    match (bundle.message_signature, bundle.dsse_envelope) {
        (Some(message), None) => {
            let signature = base64("signature", &message.signature)?;
            let signed = repository.manifest(&digest.to_string())?.ok_or_else(missing)?;
            let key = keys.iter().find(|key| key.verifies(&signed.bytes, &signature));
            key.map(signed_by).ok_or_else(|| Refusal::UnknownKey(reference.docker_name()))
        }
        (None, Some(envelope)) => judge_envelope(&envelope, digest, reference, keys),
        _ => Err(Refusal::Malformed("it has not one signature or envelope".to_owned())),
    }
}

fn judge_envelope(
    envelope: &Envelope,
    digest: &Digest,
    reference: &DockerReference,
    keys: &[PublicKey],
) -> Result<Signed, Refusal> {
    if envelope.payload_type != IN_TOTO {
        return Err(Refusal::OtherType(shown(&envelope.payload_type)));
    }
    let payload = base64("payload", &envelope.payload)?;
    let message = pre_authentication_encoding(&envelope.payload_type, &payload);
    let mut signer = None;
    for signature in envelope.signatures.iter().take(MAX_ENVELOPE_SIGNATURES) {
        let signature = base64("signature", &signature.sig)?;
        signer = signer.or_else(|| keys.iter().find(|key| key.verifies(&message, &signature)));
    }
    let key = signer.ok_or_else(|| Refusal::UnknownKey(reference.docker_name()))?;
    let statement: Statement = decode("statement", &payload, MAX_BUNDLE_BYTES)?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(Refusal::OtherType(shown(&statement.kind)));
    }
    if statement.predicate_type != SIGN {
        return Err(Refusal::OtherType(shown(&statement.predicate_type)));
    }
    let algorithm = digest.algorithm().as_str();
    let ours = |subject: &&StatementSubject| {
        subject.digest.get(algorithm).is_some_and(|found| found == digest.hex())
    };
    let Some(subject) = statement.subject.iter().find(ours) else {
        let first = statement.subject.first().and_then(|subject| subject.digest.first_key_value());
        let found = first.map_or_else(|| "(none)".to_owned(), |(name, hex)| format!("{name}:{hex}"));
        return Err(Refusal::OtherDigest { found: shown(&found), expected: digest.clone() });
    };
    // Cosign leaves it empty; who fills it in means it.
    let is_ours = |name: &str| {
        DockerReference::parse(name).is_ok_and(|name| name.docker_name() == reference.docker_name())
    };
    if !subject.name.is_empty() && !is_ours(&subject.name) {
        let expected = reference.docker_name();
        return Err(Refusal::OtherName { found: shown(&subject.name), expected });
    }
    Ok(signed_by(key))
}

/// What a DSSE signature is over.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

fn base64(what: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::Malformed(format!("its {what} is no base64")))
}

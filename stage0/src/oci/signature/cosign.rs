//! Signatures that cosign leaves beside an image, under the tag `sha256-<hex>.sig`.
//!
//! Responsible for: finding them, and judging each with the trusted public keys. Must not know: bundles. Follows cosign's
//! `specs/SIGNATURE_SPEC.md`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::payload::{self, Kind, MAX_PAYLOAD_BYTES};
use super::{Refusal, Refused, Signed, first_believed};
use crate::keystore::PublicKey;
use crate::oci::{Descriptor, Digest, DockerReference, Document, Repository};

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";

/// The first signature that is believed; what is wrong with the others goes to `refused`.
pub(super) fn find(
    digest: &Digest,
    reference: &DockerReference,
    repository: &dyn Repository,
    keys: &[PublicKey],
    refused: &mut Vec<Refused>,
) -> Option<Signed> {
    let tag = format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex());
    let manifest = match repository.manifest(&tag).and_then(|raw| raw.map(|raw| raw.parse()).transpose()) {
        Ok(None) => return None,
        Ok(Some(Document::Manifest(manifest))) => manifest,
        Ok(Some(Document::Index(_))) => {
            let why = Refusal::Malformed("it is an index".to_owned());
            refused.push(Refused { which: format!("tag {tag:?}"), why });
            return None;
        }
        Err(e) => {
            refused.push(Refused { which: format!("tag {tag:?}"), why: e.into() });
            return None;
        }
    };
    let layers = manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD_TYPE);
    first_believed("cosign signature", layers, refused, |layer| {
        judge(layer, digest, reference, repository, keys)
    })
}

fn judge(
    layer: &Descriptor,
    digest: &Digest,
    reference: &DockerReference,
    repository: &dyn Repository,
    keys: &[PublicKey],
) -> Result<Signed, Refusal> {
    let signature = layer.annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
    let signature =
        STANDARD.decode(signature).ok().filter(|signature| !signature.is_empty()).ok_or_else(|| {
            Refusal::Malformed(format!("its annotation {SIGNATURE} is missing or no base64"))
        })?;
    let payload = repository.blob(&layer.digest, MAX_PAYLOAD_BYTES)?;
    // The signature first: what nobody trusted has said is not worth reading.
    let Some(key) = keys.iter().find(|key| key.verifies(&payload, &signature)) else {
        let has_certificate = layer.annotations.get(CERTIFICATE).is_some_and(|text| !text.is_empty());
        return Err(if has_certificate {
            Refusal::Certificate
        } else {
            Refusal::UnknownKey(reference.docker_name())
        });
    };
    payload::check(Kind::Cosign, &payload, digest, reference)?;
    Ok(signed_by(key))
}

pub(super) fn signed_by(key: &PublicKey) -> Signed {
    Signed { identities: vec![format!("cosign key {}", key.fingerprint())] }
}

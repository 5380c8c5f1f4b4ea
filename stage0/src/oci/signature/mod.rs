//! Whether an image of a registry is signed by someone whom the administrator trusts.
//!
//! Responsible for: finding signatures of all known kinds and judging them. Must not know: which manifest of an index is
//! wanted, what is done with an image that is believed. Follows cosign's `specs/SIGNATURE_SPEC.md` (`cosign`), the
//! sigstore bundle format (`bundle`), and containers/image's `docs/containers-signature.5.md` with
//! `docs/signature-protocols.md` (`simple`, `lookaside`).

mod bundle;
mod cosign;
mod error;
mod lookaside;
pub(crate) mod payload;
mod simple;

#[cfg(test)]
mod bundle_test;
#[cfg(test)]
mod cosign_test;
#[cfg(test)]
mod simple_test;
#[cfg(test)]
mod test_image;

use appc::AcIdentifier;

pub use error::{Refusal, SignatureError};

use super::{Digest, DockerReference, Repository};
use crate::config::Configuration;
use crate::image::HttpClient;
use crate::keystore::Keystore;

/// What is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Name of the converted image; decides which keys count.
    pub name: AcIdentifier,
    /// What stands behind `docker://`: as the user typed it, or normalised.
    pub docker_reference: String,
    /// The manifest or index that the reference leads to.
    pub manifest_digest: Digest,
}

/// A signature that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Who signed, printable: the identities of an OpenPGP key, or `cosign key` and its fingerprint.
    pub identities: Vec<String>,
}

/// A signature that is not believed.
#[derive(Debug)]
struct Refused {
    /// Which one.
    which: String,
    /// Why not.
    why: Refusal,
}

/// Most signatures of one kind that are looked at: signing anew in a pipeline adds one each time.
const MAX_SIGNATURES: usize = 64;

/// Looks for a signature of the subject by a key that counts for its name: beside the image as cosign leaves them, as
/// sigstore bundles that refer to it, then at the lookaside server configured for its registry. One that is believed is
/// enough, whatever the others are.
pub fn verify(
    subject: &Subject,
    repository: &dyn Repository,
    keystore: &Keystore,
    configuration: &Configuration,
) -> Result<Signed, SignatureError> {
    let reference = DockerReference::parse(&subject.docker_reference)?;
    let public_keys = keystore.public_keys(&subject.name)?;
    let keyring = keystore.keyring(&subject.name)?;
    let name = subject.name.to_string();
    if public_keys.is_empty() && keyring.is_empty() {
        return Err(SignatureError::NoKeys { image: reference.typed().to_owned(), name });
    }
    let mut refused = Vec::new();
    if !public_keys.is_empty() {
        for find in [cosign::find, bundle::find] {
            if let Some(signed) =
                find(&subject.manifest_digest, &reference, repository, &public_keys, &mut refused)
            {
                return Ok(signed);
            }
        }
    }
    let lookaside = configuration.lookaside().map_err(SignatureError::Configuration)?;
    let location = reference.credential_hosts().into_iter().find_map(|host| lookaside.location(host));
    if let Some(location) = location.filter(|_| !keyring.is_empty()) {
        let credentials = configuration.auth().map_err(SignatureError::Configuration)?;
        let client = HttpClient::https_only(false).with_credentials(credentials);
        let digest = &subject.manifest_digest;
        if let Some(signed) =
            simple::find(digest, &reference, location, client, &keyring, &name, &mut refused)
        {
            return Ok(signed);
        }
    }
    Err(SignatureError::new(&reference, name, refused))
}

/// The first of these signatures that is believed; what is wrong with the others goes to `refused`.
fn first_believed<T>(
    what: &str,
    signatures: impl Iterator<Item = T>,
    refused: &mut Vec<Refused>,
    judge: impl Fn(T) -> Result<Signed, Refusal>,
) -> Option<Signed> {
    for (number, signature) in signatures.enumerate() {
        let judged =
            if number < MAX_SIGNATURES { judge(signature) } else { Err(Refusal::TooMany(MAX_SIGNATURES)) };
        match judged {
            Ok(signed) => return Some(signed),
            Err(why) => refused.push(Refused { which: format!("{what} {}", number + 1), why }),
        }
        if number >= MAX_SIGNATURES {
            break;
        }
    }
    None
}

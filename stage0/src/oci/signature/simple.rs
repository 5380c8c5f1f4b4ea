//! Simple signing: OpenPGP messages about an image, at a lookaside server.
//!
//! Responsible for: judging each with the trusted keyring. Must not know: how the server is reached. Follows
//! containers/image's `docs/containers-signature.5.md`.

use sequoia_openpgp::Cert;
use url::Url;

use super::lookaside::Lookaside;
use super::payload::{self, Kind, MAX_PAYLOAD_BYTES};
use super::{Refusal, Refused, Signed};
use crate::image::{HttpClient, verify_message};
use crate::oci::{Digest, DockerReference};

/// Most signatures of one image that are looked at; skopeo stops at 128, nobody comes near.
const MAX_SIGNATURES: usize = 32;

/// The first signature that is believed; what is wrong with the others goes to `refused`. `name` is what the keyring is
/// trusted for.
pub(super) fn find(
    digest: &Digest,
    reference: &DockerReference,
    location: &Url,
    client: HttpClient,
    keyring: &[Cert],
    name: &str,
    refused: &mut Vec<Refused>,
) -> Option<Signed> {
    let lookaside = Lookaside::new(location, client, reference.repository(), digest);
    for number in 1..=MAX_SIGNATURES {
        let url = lookaside.signature(number);
        match lookaside.read(&url) {
            Ok(None) => return None,
            Ok(Some(message)) => match judge(&message, digest, reference, keyring, name) {
                Ok(signed) => return Some(signed),
                Err(why) => refused.push(Refused { which: format!("signature {url}"), why }),
            },
            Err(why) => {
                refused.push(Refused { which: format!("signature {url}"), why });
                return None;
            }
        }
    }
    let which = format!("signatures at {location}");
    refused.push(Refused { which, why: Refusal::TooMany(MAX_SIGNATURES) });
    None
}

pub(super) fn judge(
    message: &[u8],
    digest: &Digest,
    reference: &DockerReference,
    keyring: &[Cert],
    name: &str,
) -> Result<Signed, Refusal> {
    let (payload, signers) = verify_message(message, keyring, &format!("{name:?}"), MAX_PAYLOAD_BYTES)
        .map_err(Refusal::OpenPgp)?;
    payload::check(Kind::Simple, &payload, digest, reference)?;
    let identities = signers.0.into_iter().flat_map(|signer| signer.identities).collect();
    Ok(Signed { identities })
}

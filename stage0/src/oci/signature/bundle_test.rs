use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::test_image::{CosignKey, NAME, TestImage};
use crate::oci::Digest;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const IN_TOTO: &str = "application/vnd.in-toto+json";

fn image() -> (TestImage, CosignKey) {
    let (image, key) = (TestImage::new(), CosignKey::new());
    image.trust(&key);
    (image, key)
}

fn statement(digest: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.hex() } }],
        "predicateType": SIGN,
        "predicate": {},
    })
}

fn envelope(key: &CosignKey, payload_type: &str, payload: &[u8]) -> Value {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "any" }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{ "sig": key.sign(&message) }],
        },
    })
}

fn signed(key: &CosignKey, statement: &Value) -> Value {
    envelope(key, IN_TOTO, statement.to_string().as_bytes())
}

#[test]
fn signed_statement_about_the_image_is_believed() {
    let (mut image, key) = image();
    let bundle = signed(&key, &statement(&image.digest));
    image.leave_bundle(&bundle);

    let signed = image.verify().unwrap();

    assert_eq!(signed.identities, [format!("cosign key {}", key.public.fingerprint())]);
}

#[test]
fn signature_of_the_manifest_itself_is_believed() {
    let (mut image, key) = image();
    let manifest = image.manifests[&image.digest.to_string()].bytes.clone();
    let bundle = |signature: String| {
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "any" } },
            "messageSignature": { "messageDigest": { "algorithm": "SHA2_256" }, "signature": signature },
        })
    };
    image.leave_bundle(&bundle(key.sign(b"another manifest")));
    assert!(image.refusal().contains("made by no key"));
    image.leave_bundle(&bundle(key.sign(&manifest)));
    assert!(image.verify().is_ok());
}

#[test]
fn index_of_referrers_under_a_tag_is_used_where_the_registry_lists_none() {
    let (mut image, key) = image();
    let bundle = signed(&key, &statement(&image.digest));
    image.leave_bundle(&bundle);
    let (tag, manifests) = (image.tag(""), std::mem::take(&mut image.referrers));
    assert!(image.verify().is_err());

    image.add_manifest(&tag, &json!({ "schemaVersion": 2, "manifests": manifests }));

    assert!(image.verify().is_ok());
}

#[test]
fn registry_that_refuses_to_list_referrers_may_have_the_index_under_the_tag() {
    let (mut image, key) = image();
    let bundle = signed(&key, &statement(&image.digest));
    image.leave_bundle(&bundle);
    let (tag, manifests) = (image.tag(""), std::mem::take(&mut image.referrers));
    image.refuses_referrers = true;
    assert!(image.refusal().contains("list of referrers"));

    image.add_manifest(&tag, &json!({ "schemaVersion": 2, "manifests": manifests }));

    assert!(image.verify().is_ok());
}

#[test]
fn statement_by_an_untrusted_key_is_refused() {
    let (mut image, _) = image();
    let bundle = signed(&CosignKey::new(), &statement(&image.digest));
    image.leave_bundle(&bundle);

    assert!(image.refusal().contains("made by no key that is trusted"));
}

#[test]
fn statement_about_another_image_is_refused() {
    let (mut image, key) = image();
    let other = Digest::sha256(b"another image");
    image.leave_bundle(&signed(&key, &statement(&other)));

    let text = image.refusal();

    assert!(text.contains(&format!("for the manifest {other}")), "{text}");
}

#[test]
fn statement_that_names_another_repository_is_refused() {
    let (mut image, key) = image();
    let mut other = statement(&image.digest);
    other["subject"][0]["name"] = json!("a.com/team/other");
    image.leave_bundle(&signed(&key, &other));
    assert!(image.refusal().contains("for an image named \"a.com/team/other\""));

    let mut ours = statement(&image.digest);
    ours["subject"][0]["name"] = json!(NAME);
    image.leave_bundle(&signed(&key, &ours));
    assert!(image.verify().is_ok());
}

#[test]
fn attestation_by_a_trusted_key_is_no_signature() {
    let (mut image, key) = image();
    let mut scan = statement(&image.digest);
    scan["predicateType"] = json!("https://cosign.sigstore.dev/attestation/vuln/v1");
    image.leave_bundle(&signed(&key, &scan));

    assert!(image.refusal().contains("not a signature of the image"));
}

#[test]
fn statement_that_was_changed_after_it_was_signed_is_refused() {
    let (mut image, key) = image();
    let mut bundle = signed(&key, &statement(&Digest::sha256(b"another image")));
    let ours = statement(&image.digest).to_string();
    bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(ours));
    image.leave_bundle(&bundle);

    assert!(image.refusal().contains("made by no key"));
}

#[test]
fn payload_of_another_type_is_refused() {
    let (mut image, key) = image();
    let statement = statement(&image.digest).to_string();
    image.leave_bundle(&envelope(&key, "text/plain", statement.as_bytes()));

    assert!(image.refusal().contains("statement of type \"text/plain\""));
}

#[test]
fn certificates_are_refused_in_words() {
    let (mut image, key) = image();
    let mut bundle = signed(&key, &statement(&image.digest));
    bundle["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AAAA" } });
    image.leave_bundle(&bundle);

    assert!(image.refusal().contains("keyless"));
}

#[test]
fn malformed_bundles_are_refused() {
    let (mut image, key) = image();
    let good = signed(&key, &statement(&image.digest));
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("dsseEnvelope");
    let mut both = good.clone();
    both["messageSignature"] = json!({ "signature": "AAAA" });
    let mut old = good.clone();
    old["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
    let mut no_base64 = good.clone();
    no_base64["dsseEnvelope"]["payload"] = json!("!");
    for case in [without, both, old, no_base64, json!({}), json!([])] {
        image.referrers.clear();
        image.leave_bundle(&case);
        let text = image.refusal();
        assert!(text.contains("malformed"), "{case}: {text}");
    }
}

#[test]
fn huge_bundle_is_refused() {
    let (mut image, key) = image();
    let mut bundle = signed(&key, &statement(&image.digest));
    bundle["padding"] = json!("x".repeat(300_000));
    image.leave_bundle(&bundle);

    assert!(image.refusal().contains("larger than 262144 bytes"));
}

use sequoia_openpgp::Cert;
use sequoia_openpgp::types::ReasonForRevocation;

use super::test_image::{NAME, REFERENCE, TestImage, payload};
use crate::image::test_keys::{key, revoked, sign, sign_message};
use crate::oci::Digest;

const KIND: &str = "atomic container signature";

/// An image, a key that is trusted for it, and a lookaside directory that is configured for its registry.
fn image() -> (TestImage, Cert) {
    let (image, key) = (TestImage::new(), key("Alice <alice@a.com>"));
    image.keystore.store_prefix(&NAME.parse().unwrap(), &key).unwrap();
    let configuration = image.directory.path().join("local/lookaside.d");
    std::fs::create_dir_all(&configuration).unwrap();
    let location = format!("file://{}", image.directory.path().join("sigs").display());
    let text = format!(
        r#"{{"rktKind":"lookaside","rktVersion":"v1","registries":["a.com"],"location":"{location}"}}"#
    );
    std::fs::write(configuration.join("a.json"), text).unwrap();
    (image, key)
}

fn leave(image: &TestImage, number: usize, message: &[u8]) {
    let name = format!("sigs/team/app@sha256={}", image.digest.hex());
    let directory = image.directory.path().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("signature-{number}")), message).unwrap();
}

#[test]
fn message_by_a_trusted_key_is_believed_and_names_its_signer() {
    let (image, key) = image();
    leave(&image, 1, &sign_message(&key, &payload(KIND, REFERENCE, &image.digest)));

    assert_eq!(image.verify().unwrap().identities, ["Alice <alice@a.com>"]);
}

#[test]
fn tag_must_be_the_one_that_was_asked_for() {
    let (image, key) = image();
    leave(&image, 1, &sign_message(&key, &payload(KIND, REFERENCE, &image.digest)));

    let error = image.verify_as("a.com/team/app:2").unwrap_err().to_string();
    assert!(
        error.contains("for an image named \"a.com/team/app:1\", this one is \"a.com/team/app:2\""),
        "{error}"
    );
    assert!(image.verify_as("a.com/team/app").is_err(), "no tag means latest");
    let by_digest = format!("a.com/team/app@{}", image.digest);
    assert!(image.verify_as(&by_digest).is_ok(), "asked for by digest, the repository is enough");
}

#[test]
fn signature_for_a_digest_of_the_repository_counts_for_that_digest_only() {
    let (image, key) = image();
    let by_digest = format!("a.com/team/app@{}", image.digest);
    leave(&image, 1, &sign_message(&key, &payload(KIND, &by_digest, &image.digest)));

    assert!(image.verify_as(&by_digest).is_ok());
    assert!(image.verify().is_err());
}

#[test]
fn second_signature_counts_when_the_first_is_by_a_stranger() {
    let (image, key) = image();
    let payload = payload(KIND, REFERENCE, &image.digest);
    leave(&image, 1, &sign_message(&mallory(), &payload));
    let text = image.refusal();
    assert!(text.contains("signature-1") && text.contains("is not trusted for \"a.com/team/app\""), "{text}");

    leave(&image, 2, &sign_message(&key, &payload));

    assert!(image.verify().is_ok());
}

fn mallory() -> Cert {
    key("Mallory")
}

#[test]
fn message_about_another_image_or_repository_is_refused() {
    let (image, key) = image();
    leave(&image, 1, &sign_message(&key, &payload(KIND, REFERENCE, &Digest::sha256(b"another image"))));
    assert!(image.refusal().contains("for the manifest"));
    leave(&image, 1, &sign_message(&key, &payload(KIND, "a.com/team/other:1", &image.digest)));
    assert!(image.refusal().contains("for an image named"));
    leave(&image, 1, &sign_message(&key, &payload("cosign container image signature", NAME, &image.digest)));
    assert!(image.refusal().contains("statement of type"));
}

#[test]
fn revoked_key_is_refused() {
    let (image, key) = image();
    leave(&image, 1, &sign_message(&key, &payload(KIND, REFERENCE, &image.digest)));
    assert!(image.verify().is_ok());

    let revoked = revoked(&key, ReasonForRevocation::KeyCompromised);
    image.keystore.store_prefix(&NAME.parse().unwrap(), &revoked).unwrap();

    assert!(image.refusal().contains("is revoked"), "{}", image.refusal());
}

#[test]
fn what_is_no_signed_message_is_refused() {
    let (image, key) = image();
    let payload = payload(KIND, REFERENCE, &image.digest);
    let mut changed = sign_message(&key, &payload);
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let cases: [&[u8]; 5] = [b"", b"hello", &payload, &sign(&key, &payload), &changed];
    for case in cases {
        leave(&image, 1, case);
        let text = image.refusal();
        assert!(text.starts_with("no signature of image"), "{text}");
    }
}

#[test]
fn message_that_expands_without_end_is_refused() {
    let (image, key) = image();
    leave(&image, 1, &sign_message(&key, &vec![b' '; 50_000_000]));

    assert!(image.refusal().contains("larger than"), "{}", image.refusal());
}

#[test]
fn huge_signature_file_is_refused() {
    let (image, _) = image();
    leave(&image, 1, &vec![b'x'; 200_000]);

    assert!(image.refusal().contains("larger than 131072 bytes"));
}

#[test]
fn only_so_many_signatures_are_looked_at() {
    let (image, _) = image();
    for number in 1..=40 {
        leave(&image, number, b"no signature");
    }
    assert!(image.refusal().contains("; and 28 more"), "{}", image.refusal());
}

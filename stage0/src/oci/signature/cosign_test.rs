use super::SignatureError;
use super::test_image::{CosignKey, NAME, TestImage, payload};
use crate::oci::Digest;

const KIND: &str = "cosign container image signature";

/// An image and a key that is trusted for it.
fn image() -> (TestImage, CosignKey) {
    let (image, key) = (TestImage::new(), CosignKey::new());
    image.trust(&key);
    (image, key)
}

fn leave(image: &mut TestImage, key: &CosignKey, payload: Vec<u8>) {
    let signature = key.sign(&payload);
    image.leave_cosign(&[(payload, signature)]);
}

#[test]
fn signature_by_a_trusted_key_is_believed_and_names_the_key() {
    let (mut image, key) = image();
    let payload = payload(KIND, NAME, &image.digest);
    leave(&mut image, &key, payload);

    let signed = image.verify().unwrap();

    assert_eq!(signed.identities, [format!("cosign key {}", key.public.fingerprint())]);
}

#[test]
fn image_is_refused_with_both_ways_out_when_no_key_is_trusted_for_it() {
    let image = TestImage::new();
    let other = CosignKey::new();
    image.keystore.store_public_key(Some(&"a.com/tea".parse().unwrap()), &other.public).unwrap();

    let error = image.verify().unwrap_err();

    assert!(matches!(error, SignatureError::NoKeys { .. }));
    let text = error.to_string();
    assert!(text.contains("rkt trust --prefix") && text.contains("--insecure-options=image"), "{text}");
}

#[test]
fn unsigned_image_is_refused_with_both_ways_out() {
    let (image, _) = image();

    let error = image.verify().unwrap_err();

    assert!(matches!(error, SignatureError::Unsigned { .. }));
    let text = error.to_string();
    assert!(text.contains("rkt trust --prefix") && text.contains("--insecure-options=image"), "{text}");
}

#[test]
fn signature_by_an_untrusted_key_is_refused() {
    let (mut image, _) = image();
    let payload = payload(KIND, NAME, &image.digest);
    leave(&mut image, &CosignKey::new(), payload);

    let text = image.refusal();

    assert!(text.contains("made by no key that is trusted for \"a.com/team/app\""), "{text}");
}

#[test]
fn signature_of_another_manifest_is_refused() {
    let (mut image, key) = image();
    let other = Digest::sha256(b"another image");
    leave(&mut image, &key, payload(KIND, NAME, &other));

    let text = image.refusal();

    assert!(text.contains(&format!("for the manifest {other}, this image is {}", image.digest)), "{text}");
}

#[test]
fn signature_for_another_repository_is_refused() {
    let (mut image, key) = image();
    let digest = image.digest.clone();
    for other in ["a.com/team/other", "b.com/team/app", "team/app", "", "A B", "a.com/team/app/x"] {
        leave(&mut image, &key, payload(KIND, other, &digest));

        let text = image.refusal();

        assert!(text.contains("for an image named") && text.contains("this one is"), "{other}: {text}");
    }
}

#[test]
fn names_of_docker_hub_are_the_same_registry() {
    let (mut image, key) = image();
    image.keystore.store_public_key(None, &key.public).unwrap();
    let digest = image.digest.clone();
    for signed in [
        "index.docker.io/library/redis",
        "docker.io/library/redis",
        "redis",
        "registry-1.docker.io/library/redis",
    ] {
        leave(&mut image, &key, payload(KIND, signed, &digest));
        assert!(image.verify_as("redis:7").is_ok(), "{signed}");
    }
}

#[test]
fn one_believed_signature_among_others_is_enough() {
    let (mut image, key) = image();
    let (good, stale) = (payload(KIND, NAME, &image.digest), payload(KIND, NAME, &Digest::sha256(b"x")));
    let signatures = [
        (good.clone(), CosignKey::new().sign(&good)),
        (stale.clone(), key.sign(&stale)),
        (good.clone(), "no base64!".to_owned()),
        (good.clone(), key.sign(&good)),
    ];
    image.leave_cosign(&signatures);

    assert!(image.verify().is_ok());
}

#[test]
fn malformed_payloads_are_refused_even_if_signed() {
    let (mut image, key) = image();
    let good = String::from_utf8(payload(KIND, NAME, &image.digest)).unwrap();
    let cases = [
        "{}".to_owned(),
        "not json".to_owned(),
        good.replace("\"critical\"", "\"Critical\""),
        good.replacen("\"image\":{", "\"image\":{\"more\":1,", 1),
        good.replacen("{\"critical\"", "{\"unknown\":1,\"critical\"", 1),
        good.replacen("\"identity\":{", "\"identity\":{\"docker-reference\":\"a.com/team/app\",", 1),
        format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)),
        format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)),
    ];
    for case in cases {
        leave(&mut image, &key, case.clone().into_bytes());
        let text = image.refusal();
        let begin: String = case.chars().take(60).collect();
        assert!(text.contains("malformed") || text.contains("larger than"), "{begin}: {text}");
    }
}

#[test]
fn statement_of_another_kind_is_refused() {
    let (mut image, key) = image();
    let payload = payload("atomic container signature", NAME, &image.digest);
    leave(&mut image, &key, payload);

    assert!(image.refusal().contains("statement of type \"atomic container signature\""));
}

#[test]
fn keyless_signature_is_refused_in_words() {
    let (mut image, _) = image();
    let payload = payload(KIND, NAME, &image.digest);
    let mut layer = image.add_blob("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
    layer["annotations"] = serde_json::json!({
        "dev.cosignproject.cosign/signature": CosignKey::new().sign(&payload),
        "dev.sigstore.cosign/certificate": "-----BEGIN CERTIFICATE-----",
    });
    let config = image.add_blob("c", b"{}");
    let tag = image.tag(".sig");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    image.add_manifest(&tag, &manifest);

    assert!(image.refusal().contains("keyless"));
}

#[test]
fn only_so_many_signatures_are_looked_at() {
    let (mut image, _) = image();
    let payload = payload(KIND, NAME, &image.digest);
    let signature = CosignKey::new().sign(&payload);
    image.leave_cosign(&vec![(payload, signature); 70]);

    let text = image.refusal();

    assert!(text.contains("; and 60 more"), "{text}");
    assert!(text.len() < 2000, "{text}");
}

#[test]
fn control_characters_of_a_signer_do_not_reach_the_terminal() {
    let (mut image, key) = image();
    let payload = payload(KIND, "a.com/\u{1b}[2J", &image.digest);
    leave(&mut image, &key, payload);

    assert!(!image.refusal().contains('\u{1b}'));
}

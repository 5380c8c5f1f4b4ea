//! Which of the signatures that the real gpg can make are believed, and under which keys: expiry, revocation, subkeys, weak
//! keys, prefixes and masks.

use std::fs;
use std::path::PathBuf;

use rkt_tests::command::Finished;
use rkt_tests::gpg::{Gpg, Key, at};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{self, USER, blobs, image_id, small_image, trusted_key};

const LONG_AGO: &str = "20250101T000000";
const A_WEEK_LATER: &str = "20250108T000000";
const A_YEAR_LATER: &str = "20260101T000000";

/// An rkt, a gpg, and an image to sign.
fn place() -> (TestRkt, Gpg, PathBuf) {
    let rkt = TestRkt::new();
    let image = publisher::image(&rkt, "app.aci");
    (rkt, Gpg::new(), image)
}

/// Trusts a key for the image as it is now.
fn trust(rkt: &TestRkt, gpg: &Gpg, key: &Key) {
    publisher::trust(rkt, gpg, key, &["--prefix=example.com"]);
}

#[track_caller]
fn accepted(rkt: &TestRkt) -> Finished {
    rkt.run(["fetch", "./app.aci"]).expect_code(0).expect_out(&image_id(&small_image()))
}

#[track_caller]
fn refused(rkt: &TestRkt, why: &str) {
    let output = rkt.run(["fetch", "./app.aci"]).expect_code(RKT_FAILED).expect_err(why);
    assert!(!output.out().contains("sha512-"), "printed an image ID: {output:?}");
    assert_eq!(blobs(rkt), [] as [PathBuf; 0], "a refused image is in the store");
}

#[test]
fn signature_made_before_its_key_expired_counts() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate_with("ed25519", USER, "sign", "30d", &at(LONG_AGO));
    trust(&rkt, &gpg, &key);
    let [option, time] = at(A_WEEK_LATER);
    gpg.sign_with(&image, &[option, time, "--local-user", &key.fingerprint]);

    accepted(&rkt);
}

#[test]
fn signature_made_after_its_key_expired_is_refused() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate_with("ed25519", USER, "sign", "30d", &at(LONG_AGO));
    // The publisher prolonged it, but what is trusted says that it ended.
    trust(&rkt, &gpg, &key);
    gpg.set_expiry(&key, None, "never");
    gpg.sign(&key, &image);

    refused(&rkt, "Expired on 2025-01-31");
}

#[test]
fn signature_from_the_future_is_refused() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    let [option, time] = at("20990101T000000");
    gpg.sign_with(&image, &[option, time, "--local-user", &key.fingerprint]);

    refused(&rkt, "is not valid");
}

#[test]
fn signature_by_a_subkey_counts_as_its_owners() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate_with("ed25519", USER, "cert", "never", &[]);
    let subkey = gpg.add_signing_subkey(&key, "never", &[]);
    trust(&rkt, &gpg, &key);
    gpg.sign_with(&image, &["--armor", "--local-user", &format!("{subkey}!")]);

    accepted(&rkt).expect_err(USER);
}

#[test]
fn subkey_that_was_added_after_the_key_was_trusted_is_refused() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    let subkey = gpg.add_signing_subkey(&key, "never", &[]);
    gpg.sign_with(&image, &["--local-user", &format!("{subkey}!")]);

    refused(&rkt, "signature made by unknown entity");
}

#[test]
fn subkey_counts_until_it_expires() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate_with("ed25519", USER, "cert", "never", &at(LONG_AGO));
    let subkey = gpg.add_signing_subkey(&key, "30d", &at(LONG_AGO));
    trust(&rkt, &gpg, &key);
    let local_user = format!("{subkey}!");
    let [option, time] = at(A_WEEK_LATER);
    let in_time = gpg.sign_with(&image, &[option, time, "--local-user", &local_user]);
    let in_time_copy = fs::read(&in_time).expect("a signature");

    gpg.set_expiry(&key, Some(&subkey), "never");
    let [option, time] = at(A_YEAR_LATER);
    gpg.sign_with(&image, &[option, time, "--local-user", &local_user]);
    refused(&rkt, "Expired on 2025-01-31");

    fs::write(in_time, in_time_copy).expect("writing");
    accepted(&rkt);
}

#[test]
fn revoked_subkey_is_refused_whatever_the_reason() {
    // 0: no reason; 1: compromised; 2: superseded; 3: no longer used.
    for reason in 0..=3 {
        let (rkt, gpg, image) = place();
        let key = gpg.generate_with("ed25519", USER, "cert", "never", &at(LONG_AGO));
        let subkey = gpg.add_signing_subkey(&key, "never", &at(LONG_AGO));
        let [option, time] = at(A_WEEK_LATER);
        gpg.sign_with(&image, &[option, time, "--local-user", &format!("{subkey}!")]);
        gpg.edit(&key, &format!("key 1\nrevkey\ny\n{reason}\n\ny\nsave\n"));
        trust(&rkt, &gpg, &key);

        refused(&rkt, &subkey.to_lowercase());
        refused(&rkt, "is revoked");
    }
}

#[test]
fn key_that_may_not_sign_is_refused() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate("ed25519", USER);
    gpg.sign(&key, &image);
    gpg.edit(&key, "change-usage\nS\nQ\nsave\n");
    trust(&rkt, &gpg, &key);

    refused(&rkt, "is not valid");
}

#[test]
fn weak_rsa_key_is_refused() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate("rsa1024", USER);
    gpg.sign(&key, &image);
    trust(&rkt, &gpg, &key);

    refused(&rkt, "is not valid");
}

#[test]
fn key_whose_identity_is_bound_by_sha1_is_refused() {
    let (rkt, gpg, image) = place();
    let options = ["--cert-digest-algo", "SHA1", "--allow-weak-digest-algos"];
    let key = gpg.generate_with("rsa2048", USER, "sign", "never", &options);
    gpg.sign(&key, &image);
    trust(&rkt, &gpg, &key);

    refused(&rkt, "is not valid");
}

#[test]
fn one_trusted_signer_among_several_is_enough() {
    let (rkt, gpg, image) = place();
    let stranger = gpg.generate("ed25519", "Stranger <stranger@example.org>");
    let key = trusted_key(&rkt, &gpg);
    let signers = ["--armor", "--local-user", &stranger.fingerprint, "--local-user", &key.fingerprint];
    gpg.sign_with(&image, &signers);

    let output = accepted(&rkt).expect_err(USER);

    assert!(!output.err().contains("Stranger"), "an untrusted signer is named: {output:?}");
}

#[test]
fn binary_signature_is_as_good_as_an_armored_one() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    let signature = gpg.sign_with(&image, &["--local-user", &key.fingerprint]);
    assert!(!fs::read(signature).expect("a signature").starts_with(b"-----"));

    accepted(&rkt);
}

#[test]
fn signed_message_instead_of_a_detached_signature_is_refused() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    let signature = gpg.sign(&key, &image);
    gpg.sign_message(&key, &image, &signature);

    refused(&rkt, "not a detached signature");
}

#[test]
fn prefix_ends_where_a_part_of_the_name_does() {
    let (rkt, gpg, image) = place();
    let key = gpg.generate("ed25519", USER);
    gpg.sign(&key, &image);
    for prefix in ["example.com/ap", "example.com/app/more", "example.org"] {
        publisher::trust(&rkt, &gpg, &key, &[&format!("--prefix={prefix}")]);
    }
    refused(&rkt, "is not trusted for \"example.com/app\"");

    publisher::trust(&rkt, &gpg, &key, &["--prefix=example.com/app"]);
    accepted(&rkt);
}

#[test]
fn empty_local_file_takes_trust_in_a_vendors_key_away() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    gpg.sign(&key, &image);
    fs::rename(rkt.local_config().join("trustedkeys"), rkt.path("system/trustedkeys")).expect("renaming");
    accepted(&rkt);

    let prefix = rkt.local_config().join("trustedkeys/prefix.d/example.com");
    fs::create_dir_all(&prefix).expect("a directory");
    fs::write(prefix.join(key.fingerprint.to_lowercase()), "").expect("writing");

    let output = rkt.run(["fetch", "./app.aci"]);
    output.expect_code(RKT_FAILED).expect_err("is not trusted for \"example.com/app\"");
}

#[test]
fn local_copy_of_a_key_replaces_the_vendors() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    gpg.sign(&key, &image);
    fs::rename(rkt.local_config().join("trustedkeys"), rkt.path("system/trustedkeys")).expect("renaming");
    gpg.revoke(&key);
    trust(&rkt, &gpg, &key);

    refused(&rkt, "is revoked");
}

#[test]
fn key_file_named_after_another_key_is_an_error() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    gpg.sign(&key, &image);
    let prefix = rkt.local_config().join("trustedkeys/prefix.d/example.com");
    let (file, other) = (prefix.join(key.fingerprint.to_lowercase()), prefix.join("0".repeat(40)));
    fs::rename(file, &other).expect("renaming");

    refused(&rkt, "fingerprint mismatch");
    refused(&rkt, &"0".repeat(40));
}

#[test]
fn files_that_are_not_named_like_keys_are_left_alone() {
    let (rkt, gpg, image) = place();
    let key = trusted_key(&rkt, &gpg);
    gpg.sign(&key, &image);
    let prefix = rkt.local_config().join("trustedkeys/prefix.d/example.com");
    fs::write(prefix.join("README"), "Keys of our publisher.").expect("writing");

    accepted(&rkt);
}

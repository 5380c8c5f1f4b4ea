//! `rkt trust` from files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rkt_tests::gpg::Gpg;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};

use crate::publisher::{USER, files_below};

#[test]
fn trust_keeps_the_key_for_a_prefix_under_its_fingerprint() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    gpg.export(&key, &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--prefix=example.com/app", "key.asc"]);

    output.expect_code(0);
    let file = format!("trustedkeys/prefix.d/example.com/app/{}", key.fingerprint.to_lowercase());
    let metadata = fs::metadata(rkt.local_config().join(file)).expect("the key is where rkt keeps keys");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
}

#[test]
fn trust_shows_the_fingerprint_and_the_identity() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    gpg.export(&key, &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "key.asc"]).expect_code(0);

    let said = format!("{}{}", output.out(), output.err()).replace(' ', "").to_uppercase();
    assert!(said.contains(&key.fingerprint), "{output:?}");
    assert!(said.contains("PUBLISHER@EXAMPLE.COM"), "{output:?}");
    let file = format!("trustedkeys/root.d/{}", key.fingerprint.to_lowercase());
    assert!(rkt.local_config().join(file).exists());
}

#[test]
fn trust_for_everything_must_be_asked_for() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", USER), &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--skip-fingerprint-review", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("--root");
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn trust_needs_a_terminal_to_review_a_fingerprint() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    gpg.export(&gpg.generate("ed25519", USER), &rkt.path("key.asc"));

    let output = rkt.run(["trust", "--root", "key.asc"]);

    output.expect_code(RKT_FAILED);
    assert!(files_below(&rkt.local_config()).is_empty());
}

#[test]
fn trust_refuses_both_a_prefix_and_the_root() {
    let rkt = TestRkt::new();

    let output = rkt.run(["trust", "--root", "--prefix=example.com", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("--root and --prefix usage mutually exclusive");
}

#[test]
fn trust_names_a_file_that_is_not_there() {
    let rkt = TestRkt::new();

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "/nowhere/key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("/nowhere/key.asc");
}

#[test]
fn trust_names_a_file_that_is_not_a_key() {
    let rkt = TestRkt::new();
    fs::write(rkt.path("key.asc"), "this is not a key\n").expect("writing");

    let output = rkt.run(["trust", "--skip-fingerprint-review", "--root", "key.asc"]);

    output.expect_code(RKT_FAILED).expect_err("key.asc");
    assert!(files_below(&rkt.local_config()).is_empty());
}

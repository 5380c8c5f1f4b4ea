use sequoia_openpgp::types::{HashAlgorithm, ReasonForRevocation};

use super::VerifyError;
use super::test_keys::{key, revoked, sign, sign_message, sign_with};
use super::verify::{check_issuer, printable, verify};
use crate::keystore::fingerprint;

const SCOPE: &str = "\"a.com/b\"";

#[test]
fn good_signature_names_its_signer() {
    let key = key("Alice <alice@a.com>");
    let signature = sign(&key, b"image");
    let signers = verify(&signature, &b"image"[..], std::slice::from_ref(&key), SCOPE).unwrap();
    let signer = signers.counts_for(std::slice::from_ref(&key), SCOPE).unwrap();
    assert_eq!(signer.identities, ["Alice <alice@a.com>"]);
    assert_eq!(signer.certificate, key.fingerprint());
    assert_ne!(signer.key, key.fingerprint(), "the subkey signed");
}

#[test]
fn content_may_arrive_through_a_channel() {
    let key = key("Alice");
    let signature = sign(&key, b"image");
    let (sender, receiver) = std::sync::mpsc::sync_channel::<&'static [u8]>(1);
    let signers = std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            let content = Received { receiver, rest: b"" };
            verify(&signature, content, std::slice::from_ref(&key), SCOPE)
        });
        for piece in [&b"im"[..], b"a", b"ge"] {
            sender.send(piece).unwrap();
        }
        drop(sender);
        verifier.join().unwrap()
    });
    assert!(signers.is_ok());
}

struct Received {
    receiver: std::sync::mpsc::Receiver<&'static [u8]>,
    rest: &'static [u8],
}

impl std::io::Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.recv() {
                Ok(piece) => self.rest = piece,
                Err(_) => return Ok(0),
            }
        }
        self.rest.read(buffer)
    }
}

#[test]
fn signer_must_be_among_the_keys_that_count_for_the_name() {
    let (alice, bob) = (key("Alice"), key("Bob"));
    let signature = sign(&alice, b"image");
    let all = [alice.clone(), bob.clone()];
    let signers = verify(&signature, &b"image"[..], &all, "any image").unwrap();
    assert!(signers.counts_for(&[alice], SCOPE).is_ok());
    let error = signers.counts_for(&[bob], SCOPE).unwrap_err();
    assert!(matches!(&error, VerifyError::Untrusted { scope, .. } if scope == SCOPE));
}

#[test]
fn the_copy_of_the_certificate_that_counts_for_the_name_decides() {
    let alice = key("Alice");
    let signature = sign(&alice, b"image");
    let signers = verify(&signature, &b"image"[..], std::slice::from_ref(&alice), "any image").unwrap();
    let error =
        signers.counts_for(&[revoked(&alice, ReasonForRevocation::KeyCompromised)], SCOPE).unwrap_err();
    assert!(matches!(error, VerifyError::Revoked { .. }));
    let primary_only = alice.clone().retain_subkeys(|_| false);
    let error = signers.counts_for(&[primary_only], SCOPE).unwrap_err();
    assert!(matches!(error, VerifyError::BadKey { .. }));
}

#[test]
fn binary_signatures_are_as_good_as_armored_ones() {
    let key = key("Alice");
    let signature = binary(&sign(&key, b"image"));
    assert!(verify(&signature, &b"image"[..], &[key], SCOPE).is_ok());
}

/// Without the armor.
fn binary(armored: &[u8]) -> Vec<u8> {
    let mut binary = Vec::new();
    let mut reader = sequoia_openpgp::armor::Reader::from_bytes(armored, None);
    std::io::Read::read_to_end(&mut reader, &mut binary).unwrap();
    binary
}

#[test]
fn changed_image_is_refused() {
    let key = key("Alice");
    let signature = sign(&key, b"image");
    let error = verify(&signature, &b"imagE"[..], std::slice::from_ref(&key), SCOPE).unwrap_err();
    assert_eq!(error, VerifyError::Mismatch { fingerprint: fingerprint(&key), identity: "Alice".to_owned() });
}

#[test]
fn untrusted_key_is_refused_before_the_image_is_read() {
    let (alice, mallory) = (key("Alice"), key("Mallory"));
    let error = check_issuer(&sign(&mallory, b"image"), &[alice], SCOPE).unwrap_err();
    assert!(matches!(&error, VerifyError::Untrusted { scope, .. } if scope == SCOPE));
    assert!(error.to_string().contains("rkt trust"));
}

#[test]
fn revoked_key_is_refused_whatever_the_reason() {
    for code in [
        ReasonForRevocation::KeyCompromised,
        ReasonForRevocation::KeyRetired,
        ReasonForRevocation::Unspecified,
    ] {
        let key = key("Alice");
        let signature = sign(&key, b"image");
        let key = revoked(&key, code);
        let error = verify(&signature, &b"image"[..], &[key], SCOPE).unwrap_err();
        assert!(
            matches!(&error, VerifyError::Revoked { reason, .. } if reason.contains("lost laptop")),
            "{error}"
        );
    }
}

#[test]
fn sha1_signature_is_refused_by_name() {
    let key = key("Alice");
    let signature = sign_with(&key, b"image", HashAlgorithm::SHA1);
    let error = verify(&signature, &b"image"[..], &[key], SCOPE).unwrap_err();
    assert!(matches!(error, VerifyError::WeakHash(_)));
    assert!(error.to_string().contains("SHA1"), "{error}");
}

#[test]
fn one_good_signature_among_several_is_enough() {
    let (alice, bob) = (key("Alice"), key("Bob"));
    let two = [binary(&sign(&bob, b"image")), binary(&sign(&alice, b"image"))];
    assert!(verify(&two.concat(), &b"image"[..], &[alice], SCOPE).is_ok());
}

#[test]
fn what_is_no_signature_is_refused() {
    let key = key("Alice");
    for bytes in [&b""[..], b"hello", b"-----BEGIN PGP SIGNATURE-----\n\n"] {
        let error = verify(bytes, &b"image"[..], std::slice::from_ref(&key), SCOPE).unwrap_err();
        assert!(matches!(error, VerifyError::Malformed(_)), "{error}");
    }
}

#[test]
fn message_that_carries_its_own_content_is_no_detached_signature() {
    let key = key("Alice");
    let message = sign_message(&key, b"image");
    for bytes in [message.clone(), [binary(&sign(&key, b"image")), message].concat()] {
        let error = verify(&bytes, &b"image"[..], std::slice::from_ref(&key), SCOPE).unwrap_err();
        assert_eq!(error, VerifyError::Malformed("it is not a detached signature".to_owned()));
    }
}

#[test]
fn more_signatures_than_anybody_makes_are_refused() {
    let key = key("Alice");
    let many = binary(&sign(&key, b"image")).repeat(17);
    let error = verify(&many, &b"image"[..], std::slice::from_ref(&key), SCOPE).unwrap_err();
    assert!(error.to_string().contains("more than 16 signatures"), "{error}");
}

#[test]
fn control_characters_of_strangers_do_not_reach_the_terminal() {
    assert_eq!(printable("Eve\x1b[2J\n"), "Eve\u{fffd}[2J\u{fffd}");
}

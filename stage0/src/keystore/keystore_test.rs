use std::fs;

use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::{ReasonForRevocation, RevocationStatus};
use tempfile::TempDir;

use super::{Keystore, KeystoreError, PublicKey, fingerprint};
use crate::image::test_keys::{key, revoked};

fn place() -> (TempDir, Keystore) {
    let directory = tempfile::tempdir().unwrap();
    let keystore = Keystore::new(&directory.path().join("system"), &directory.path().join("local"));
    (directory, keystore)
}

fn ring(keystore: &Keystore, name: &str) -> Vec<String> {
    keystore.keyring(&name.parse().unwrap()).unwrap().iter().map(fingerprint).collect()
}

#[test]
fn key_is_stored_below_its_prefix_under_its_fingerprint() {
    let (directory, keystore) = place();
    let alice = key("Alice");
    let path = keystore.store_prefix(&"a.com/b".parse().unwrap(), &alice).unwrap();
    let wanted = directory.path().join("local/trustedkeys/prefix.d/a.com/b").join(fingerprint(&alice));
    assert_eq!(path, wanted);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "secrets stay where they are");
}

#[test]
fn prefixes_end_where_components_end() {
    let (_directory, keystore) = place();
    let (alice, root) = (key("Alice"), key("Root"));
    keystore.store_prefix(&"a.com/b".parse().unwrap(), &alice).unwrap();
    keystore.store_root(&root).unwrap();
    let (alice, root) = (fingerprint(&alice), fingerprint(&root));

    for name in ["a.com/b", "a.com/b/c"] {
        let keys = ring(&keystore, name);
        assert!(keys.contains(&alice) && keys.contains(&root), "{name}");
    }
    for name in ["a.com", "a.com/bc", "b.com/b"] {
        assert_eq!(ring(&keystore, name), std::slice::from_ref(&root), "{name}");
    }
    assert_eq!(keystore.all().unwrap().len(), 2);
}

#[test]
fn empty_local_file_masks_the_vendors_key() {
    let (directory, keystore) = place();
    let vendor = Keystore::new(&directory.path().join("none"), &directory.path().join("system"));
    let alice = key("Alice");
    vendor.store_root(&alice).unwrap();
    assert_eq!(ring(&keystore, "a.com/b").len(), 1);

    let local = directory.path().join("local/trustedkeys/root.d");
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join(fingerprint(&alice)), "").unwrap();

    assert!(ring(&keystore, "a.com/b").is_empty());
}

#[test]
fn file_named_after_another_key_is_an_error() {
    let (_directory, keystore) = place();
    let path = keystore.store_root(&key("Alice")).unwrap();
    fs::rename(&path, path.with_file_name("0".repeat(40))).unwrap();
    let error = keystore.keyring(&"a.com".parse().unwrap()).unwrap_err();
    assert!(matches!(error, KeystoreError::FingerprintMismatch { .. }));
}

#[test]
fn file_that_is_no_key_is_named() {
    let (_directory, keystore) = place();
    let path = keystore.store_root(&key("Alice")).unwrap();
    fs::write(&path, "no key").unwrap();
    let error = keystore.keyring(&"a.com".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn key_masked_for_one_prefix_may_still_sign_for_others() {
    let (directory, keystore) = place();
    let alice = key("Alice");
    keystore.store_root(&alice).unwrap();
    let masked = directory.path().join("local/trustedkeys/prefix.d/a.com");
    fs::create_dir_all(&masked).unwrap();
    fs::write(masked.join(fingerprint(&alice)), "").unwrap();

    assert!(ring(&keystore, "a.com/b").is_empty());
    assert_eq!(ring(&keystore, "b.com/b").len(), 1);
    assert_eq!(keystore.all().unwrap().len(), 1);
}

#[test]
fn local_copy_replaces_the_vendors() {
    let (directory, keystore) = place();
    let vendor = Keystore::new(&directory.path().join("none"), &directory.path().join("system"));
    let alice = key("Alice");
    vendor.store_root(&alice).unwrap();
    keystore.store_root(&revoked(&alice, ReasonForRevocation::KeyCompromised)).unwrap();

    let keys = keystore.keyring(&"a.com".parse().unwrap()).unwrap();

    assert_eq!(keys.len(), 1);
    let policy = StandardPolicy::new();
    assert!(matches!(keys[0].revocation_status(&policy, None), RevocationStatus::Revoked(_)));
}

const COSIGN: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExA2qwCW1BtD8aeSpgUhDmrcmhlbd\n\
    xatt0/EOvehMcx4G34KQdkNCf5X6hKrL4aghyEgeqcFTcnL4bsZYqhvpZw==\n-----END PUBLIC KEY-----\n";

fn cosign_ring(keystore: &Keystore, name: &str) -> Vec<String> {
    keystore.public_keys(&name.parse().unwrap()).unwrap().iter().map(PublicKey::fingerprint).collect()
}

#[test]
fn bare_public_keys_lie_beside_the_others_under_the_same_rules() {
    let (directory, keystore) = place();
    let key = PublicKey::from_pem(COSIGN.as_bytes()).unwrap().remove(0);

    let path = keystore.store_public_key(Some(&"a.com/b".parse().unwrap()), &key).unwrap();

    let name = format!("local/trustedkeys/prefix.d/a.com/b/cosign-{}.pub", key.fingerprint());
    assert_eq!(path, directory.path().join(name));
    assert_eq!(fs::read_to_string(path).unwrap(), COSIGN);
    assert_eq!(cosign_ring(&keystore, "a.com/b/c"), [key.fingerprint()]);
    assert!(cosign_ring(&keystore, "a.com/bc").is_empty());
    assert!(ring(&keystore, "a.com/b/c").is_empty());
}

#[test]
fn empty_local_file_masks_the_vendors_bare_public_key() {
    let (directory, keystore) = place();
    let vendor = Keystore::new(&directory.path().join("none"), &directory.path().join("system"));
    let key = PublicKey::from_pem(COSIGN.as_bytes()).unwrap().remove(0);
    let path = vendor.store_public_key(None, &key).unwrap();
    assert_eq!(cosign_ring(&keystore, "a.com").len(), 1);

    let local = directory.path().join("local/trustedkeys/root.d");
    fs::create_dir_all(&local).unwrap();
    fs::write(local.join(path.file_name().unwrap()), "").unwrap();

    assert!(cosign_ring(&keystore, "a.com").is_empty());
}

#[test]
fn bare_public_key_in_a_file_of_another_name_is_an_error() {
    let (_directory, keystore) = place();
    let key = PublicKey::from_pem(COSIGN.as_bytes()).unwrap().remove(0);
    let path = keystore.store_public_key(None, &key).unwrap();
    fs::rename(&path, path.with_file_name(format!("cosign-{}.pub", "0".repeat(64)))).unwrap();
    let error = keystore.public_keys(&"a.com".parse().unwrap()).unwrap_err();
    assert!(matches!(error, KeystoreError::FingerprintMismatch { .. }));
}

#[test]
fn keys_of_a_prefix_are_found_from_below_it() {
    let (_directory, keystore) = place();
    keystore.store_root(&key("Root")).unwrap();
    let has = |name: &str| keystore.has_prefix_key(&name.parse().unwrap()).unwrap();
    assert!(!has("a.com/b"), "a key for everything is no key of the prefix");
    keystore.store_prefix(&"a.com/b".parse().unwrap(), &key("Alice")).unwrap();
    assert!(has("a.com/b") && has("a.com/b/c"));
    assert!(!has("a.com") && !has("a.com/bc"));
}

use std::fs;

use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::{ReasonForRevocation, RevocationStatus};
use tempfile::TempDir;

use super::{Keystore, KeystoreError, fingerprint};
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

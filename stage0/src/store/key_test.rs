use sha2::{Digest, Sha512};

use super::{Key, StoreError, TreeId};

#[test]
fn key_is_half_of_the_hash_in_three_lengths() {
    let key = Key::of(Sha512::new_with_prefix(b"abc"));
    let digits = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a";
    assert_eq!(key.as_str(), format!("sha512-{digits}"));
    assert_eq!(key.short(), format!("sha512-{}", &digits[..32]));
    assert_eq!(
        format!("sha512-{digits}{digits}").parse::<Key>().unwrap(),
        key,
        "the full hash names the same image"
    );
}

#[test]
fn what_is_no_key_is_refused() {
    assert!(matches!("sha256-00".parse::<Key>(), Err(StoreError::KeyPrefix)));
    assert!(matches!("sha512-00".parse::<Key>(), Err(StoreError::KeyTooShort)));
    assert!(format!("sha512-{}", "../".repeat(22)).parse::<Key>().is_err());
}

#[test]
fn tree_id_depends_on_every_image_and_their_order() {
    let a = Key::of(Sha512::new_with_prefix(b"a"));
    let b = Key::of(Sha512::new_with_prefix(b"b"));
    let id = TreeId::of([&a, &b]);
    assert_eq!(id.as_str().len(), "deps-sha512-".len() + 64);
    assert_ne!(id, TreeId::of([&b, &a]));
    assert_ne!(id, TreeId::of([&a]));
    assert_eq!(id.as_str().parse::<TreeId>().unwrap(), id);
    assert!("deps-../..".parse::<TreeId>().is_err());
}

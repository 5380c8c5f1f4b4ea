use sha2::{Digest, Sha256};

use super::{DiffId, StoreError};

const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn diff_id_is_the_hash_in_text() {
    let id = DiffId::of(Sha256::new_with_prefix(b"abc"));
    assert_eq!(id.to_string(), ABC);
    assert_eq!(ABC.parse::<DiffId>().unwrap(), id);
    assert_eq!(DiffId::from_file_name(&id.file_name()), Some(id));
}

#[test]
fn what_could_name_another_file_is_no_diff_id() {
    let upper = ABC.to_uppercase().replace("SHA", "sha");
    for text in ["", "sha256:", "sha256:ba78", &ABC[7..], &format!("{ABC}0"), &upper] {
        assert!(matches!(text.parse::<DiffId>(), Err(StoreError::DiffId(_))), "{text}");
    }
    assert!(format!("sha256:{}0", "../".repeat(21)).parse::<DiffId>().is_err());
    assert_eq!(DiffId::from_file_name("sha256-x"), None);
}

#[test]
fn list_keeps_order_and_repetitions() {
    let (a, b) = (DiffId::of(Sha256::new()), DiffId::of(Sha256::new_with_prefix(b"abc")));
    let list = [a.clone(), b.clone(), a];
    assert_eq!(DiffId::parse_list(&DiffId::list(&list)).unwrap(), list);
    assert_eq!(DiffId::parse_list("").unwrap(), []);
    assert!(DiffId::parse_list("sha256:12").is_err());
}

#[test]
fn endless_list_is_refused() {
    let error = DiffId::parse_list(&[ABC; 257].join(",")).unwrap_err();
    assert_eq!(error.to_string(), "image has more than 256 layers");
    assert_eq!(DiffId::parse_list(&[ABC; 256].join(",")).unwrap().len(), 256);
}

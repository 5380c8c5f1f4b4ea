use crate::{AcIdentifier, AcName, AppcError, ImageId, MAX_NAME_BYTES};

#[test]
fn identifiers_are_words_joined_by_single_separators() {
    for good in ["a", "example.com/redis", "coreos.com/rkt/stage1-kvm", "a_b~c"] {
        assert_eq!(good.parse::<AcIdentifier>().unwrap().as_str(), good);
    }
    for bad in ["", "A", "-a", "a-", "a//b", "a..b", "a b", "../etc", "a/../b", "ä"] {
        assert!(bad.parse::<AcIdentifier>().is_err(), "{bad:?}");
    }
}

#[test]
fn names_have_no_separator_but_the_hyphen() {
    assert!("redis-server".parse::<AcName>().is_ok());
    for bad in ["", "a/b", "a.b", "a--b", "..", "-a"] {
        assert_eq!(bad.parse::<AcName>(), Err(AppcError::InvalidName(bad.to_owned())));
    }
}

#[test]
fn name_longer_than_a_file_name_is_refused() {
    let long = "a".repeat(MAX_NAME_BYTES + 1);
    assert_eq!(
        long.parse::<AcName>(),
        Err(AppcError::NameTooLong { found: MAX_NAME_BYTES + 1, limit: MAX_NAME_BYTES })
    );
}

#[test]
fn default_app_name_is_the_sanitised_last_component() {
    let image: AcIdentifier = "example.com/my_redis.server".parse().unwrap();
    assert_eq!(image.default_app_name().unwrap().as_str(), "my-redis-server");
}

#[test]
fn sanitising_makes_a_valid_name_or_says_why_not() {
    assert_eq!(AcName::sanitised("__Foo  Bar!").unwrap().as_str(), "foo-bar");
    assert_eq!(AcIdentifier::sanitised("Quay.io//X y").unwrap().as_str(), "quay.io/x_y");
    assert_eq!(AcName::sanitised("!!"), Err(AppcError::NothingToSanitise("!!".to_owned())));
}

#[test]
fn image_id_is_sha512_and_hexadecimal_digits() {
    assert_eq!("sha512-AAbb".parse::<ImageId>().unwrap().as_str(), "sha512-aabb");
    assert_eq!("sha512-aabb".parse::<ImageId>().unwrap().digits(), "aabb");
    for bad in ["", "sha512-", "sha256-aa", "sha512-xyz", &format!("sha512-{}", "a".repeat(129))] {
        assert_eq!(bad.parse::<ImageId>(), Err(AppcError::InvalidImageId(bad.to_owned())));
    }
}

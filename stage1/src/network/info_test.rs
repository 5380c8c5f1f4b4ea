use guest_api::Prefix;

use super::info::mask;

#[test]
fn masks_are_written_like_addresses() {
    let mask = |address: &str, length| mask(Prefix { address: address.parse().unwrap(), length });

    assert_eq!(mask("172.16.28.2", 24), "255.255.255.0");
    assert_eq!(mask("10.0.0.1", 0), "0.0.0.0");
    assert_eq!(mask("10.0.0.1", 32), "255.255.255.255");
    assert_eq!(mask("fd00::1", 64), "ffff:ffff:ffff:ffff::");
    assert_eq!(mask("fd00::1", 128), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

use crate::Quantity;

#[test]
fn quantities_are_read_with_every_kind_of_suffix() {
    for (text, milli) in [
        ("500m", 500),
        ("1", 1000),
        ("1.5", 1500),
        ("128Mi", 128 * 1024 * 1024 * 1000),
        ("256M", 256_000_000_000),
        ("0.5Gi", 512 * 1024 * 1024 * 1000),
        ("1e3", 1_000_000),
        ("12E", 12_000_000_000_000_000_000_000),
    ] {
        assert_eq!(text.parse::<Quantity>().unwrap().milli_value(), milli, "{text}");
    }
}

#[test]
fn what_is_not_a_quantity_is_refused() {
    for text in ["", "M", "1X", "1.2.3", "1 M", "0x10", "1e999", ".", &"9".repeat(40)] {
        assert!(text.parse::<Quantity>().is_err(), "{text:?}");
    }
}

#[test]
fn fractions_of_a_unit_round_up() {
    assert_eq!("1500m".parse::<Quantity>().unwrap().value(), 2);
}

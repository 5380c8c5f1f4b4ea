use super::*;

#[test]
fn what_was_written_is_read() {
    let inner = Attributes::new().number(1, 0x0102_0304);
    let attributes = Attributes::new().text(1, "eth0").nested(2, &inner);

    let read = parse(attributes.as_bytes());

    assert_eq!(read, [(1, &b"eth0\0"[..]), (2, inner.as_bytes())]);
    assert_eq!(parse(inner.as_bytes()), [(1, &[1, 2, 3, 4][..])]);
    assert_eq!(text(b"eth0\0"), "eth0");
}

#[test]
fn an_attribute_that_is_cut_off_or_shorter_than_its_header_ends_the_list() {
    assert_eq!(parse(&[8, 0, 1, 0, 1]), []);
    assert_eq!(parse(&[0, 0, 1, 0, 9, 9, 9, 9]), []);
    assert_eq!(parse(&[5, 0, 1, 0, 7]), [(1, &[7][..])]);
    assert_eq!(parse(&[1, 2]), []);
}

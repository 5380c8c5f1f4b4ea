use super::form::field;

#[test]
fn a_field_is_found_by_its_name_and_given_byte_for_byte() {
    let form = b"uuid=1&content=a+b%26%3D%ff%00c&content=other&sign%61ture=x%3d&empty=&bare";

    assert_eq!(field(form, "content").as_deref(), Some(&b"a b&=\xff\0c"[..]));
    assert_eq!(field(form, "signature").as_deref(), Some(&b"x="[..]));
    assert_eq!(field(form, "empty").as_deref(), Some(&b""[..]));
    assert_eq!(field(form, "bare").as_deref(), Some(&b""[..]));
    assert_eq!(field(form, "missing"), None);
}

#[test]
fn a_malformed_field_is_none() {
    for form in ["content=%", "content=%f", "content=%gg", "content=a%2"] {
        assert_eq!(field(form.as_bytes(), "content"), None, "{form}");
    }
}

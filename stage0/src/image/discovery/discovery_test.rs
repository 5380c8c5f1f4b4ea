use super::html::{MetaTag, meta_tags};
use super::template::render;

fn tags(page: &str) -> Vec<MetaTag> {
    meta_tags(page.as_bytes()).unwrap()
}

fn tag(name: &str, prefix: &str, template: &str) -> MetaTag {
    MetaTag { name: name.to_owned(), prefix: prefix.to_owned(), template: template.to_owned() }
}

#[test]
fn tags_are_found_however_they_are_written() {
    let wanted = [tag("ac-discovery", "a.com", "https://a.com/{name}.{ext}")];
    for page in [
        r#"<meta name="ac-discovery" content="a.com https://a.com/{name}.{ext}">"#,
        r#"<META content='a.com   https://a.com/{name}.{ext}' NAME=ac-discovery />"#,
        r#"<!DOCTYPE html><html><head><title><b></title><meta name=x><meta name="ac-discovery" content="a.com https://a.com/{name}.{ext}"></head></html>"#,
        "<meta\nname=\"ac-discovery\"\ncontent=\"a.com\nhttps://a.com/&#123;name}.{ext}\">",
    ] {
        assert_eq!(tags(page), wanted, "{page}");
    }
}

#[test]
fn what_only_looks_like_a_tag_is_none() {
    let meta = r#"<meta name="ac-discovery" content="a.com https://evil.com/{name}">"#;
    for page in [
        format!("<!-- {meta} -->"),
        format!("<script>document.write('{meta}')</script>"),
        format!("<style>{meta}</style>"),
        format!("<title>{meta}</title>"),
        format!("<textarea>{meta}</textarea>"),
        format!("<head></head>{meta}"),
        format!("<body>{meta}</body>"),
        format!("<p title='{meta}'>"),
        r#"<meta name="ac-discovery" content="a.com">"#.to_owned(),
        r#"<meta name="ac-discovery" content="a.com https://a.com/ more">"#.to_owned(),
        r#"<meta name="other" content="a.com https://a.com/">"#.to_owned(),
        r#"<meta content="a.com https://a.com/">"#.to_owned(),
    ] {
        assert_eq!(tags(&page), [], "{page}");
    }
}

#[test]
fn pages_are_looked_at_as_far_as_their_first_megabyte_and_their_first_tags() {
    let meta = r#"<meta name="ac-discovery" content="a.com https://a.com/">"#;
    assert_eq!(tags(&format!("{}{meta}", " ".repeat(1 << 20))), []);
    assert_eq!(tags(&meta.repeat(10_000)).len(), 256);
    let mut attribute = b"<meta content=\"".to_vec();
    attribute.resize(2 << 20, b'x');
    assert_eq!(meta_tags(attribute.as_slice()).unwrap(), []);
    assert_eq!(meta_tags(&b"<meta name=\xff\xfe content=\xff>"[..]).unwrap(), []);
}

#[test]
fn template_takes_every_value_once() {
    let value = |key: &str| match key {
        "name" => Some("a.com/b"),
        "ext" => Some("aci.asc"),
        "version" => Some("1.0+{ext}?x#y/../%"),
        _ => None,
    };
    assert_eq!(render("https://a.com/{name}.{ext}", value).unwrap(), "https://a.com/a.com/b.aci.asc");
    assert_eq!(render("{version}", value).unwrap(), "1.0+%7Bext%7D%3Fx%23y/../%25");
    assert_eq!(render("no key", value).unwrap(), "no key");
    for unresolved in ["{arch}", "{name", "{}", "{{name}}"] {
        assert_eq!(render(unresolved, value), None, "{unresolved}");
    }
}

//! Templates of URLs: `https://example.com/{name}-{version}-{os}-{arch}.{ext}`.
//!
//! Follows appc-spec `spec/discovery.md`.

/// Replaces every `{KEY}` by what `value` says for the key. `None` if there is a key without a value. A value can bring in no
/// further key, and none of the characters that would end a URL's path.
pub(super) fn render<'a>(template: &str, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut url = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (key, behind) = after.split_once('}')?;
        url.push_str(before);
        escape(value(key)?, &mut url);
        rest = behind;
    }
    url.push_str(rest);
    Some(url)
}

fn escape(value: &str, url: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'?' | b'#' | b'%' | b'\\' | b'"' | b'<' | b'>' | b'{' | b'}' | b'^' | b'`' | b'|' => {
                url.push_str(&format!("%{byte:02X}"));
            }
            0x21..=0x7e => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
}

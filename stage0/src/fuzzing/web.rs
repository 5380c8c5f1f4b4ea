//! What web servers and apps say over HTTP.
//!
//! Responsible for: pages, headers, forms. Must not know: connections, which the libraries parse.

use crate::image::{content_range, max_age, meta_tags};
use crate::metadata::form_field;
use crate::oci::Challenge;

/// A page that is searched for the tags of discovery. Deep: a template that does not ask for the
/// image's name.
pub fn discovery(data: &[u8]) -> bool {
    let Ok(tags) = meta_tags(data) else { return false };
    for tag in &tags {
        let words = [&tag.prefix, &tag.template];
        assert!(words.iter().all(|word| !word.is_empty() && !word.contains(char::is_whitespace)), "{tag:?}");
    }
    tags.iter().any(|tag| tag.name == "ac-discovery" && !tag.template.contains("{name}"))
}

/// A header of a server's: what it wants to know, which part it sends, how long that is fresh. Deep: a challenge with more
/// than three parameters.
pub fn http_headers(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    if let Some(range) = content_range(text) {
        assert!(range.total.is_none_or(|total| range.first < total), "{range:?}");
    }
    assert!(max_age(Some(text)) <= 365 * 24 * 60 * 60);
    let challenges = Challenge::parse_all(text);
    challenges.iter().any(|challenge| challenge.parameters() > 3)
}

/// A form that an app has signed. What is found is no longer than the form. Deep: all three fields are there, and none is as it was sent.
pub fn form(data: &[u8]) -> bool {
    let fields = ["uuid", "content", "signature"].map(|name| form_field(data, name));
    for field in fields.iter().flatten() {
        assert!(field.len() <= data.len());
    }
    let sent = |field: &[u8]| data.windows(field.len().max(1)).any(|window| window == field);
    fields.iter().all(|field| field.as_ref().is_some_and(|field| !field.is_empty() && !sent(field)))
}

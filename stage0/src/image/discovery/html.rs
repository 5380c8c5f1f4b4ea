//! `<meta>` tags of a web page.
//!
//! Responsible for: finding the tags of discovery in a page by a stranger. Must not know: what they are good for. Follows
//! appc-spec `spec/discovery.md` ("Meta Discovery") and the HTML standard's tokenization (html5gum).

use std::io::{self, Read};

use html5gum::{DefaultEmitter, HtmlString, IoReader, Spanned, StartTag, Token, Tokenizer};

/// How much of a page is looked at. The tags stand in its head, within the first kilobytes.
const MAX_PAGE_BYTES: u64 = 1024 * 1024;
/// Most tags that are kept. Publishers have one or two for each of their projects.
const MAX_TAGS: usize = 256;

/// A tag `<meta name="ac-discovery…" content="PREFIX TEMPLATE">`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaTag {
    /// Its `name`.
    pub name: String,
    /// The first word of its `content`: of which images it speaks.
    pub prefix: String,
    /// The second word: a URL, or a template of one.
    pub template: String,
}

/// The tags of discovery in a page's head, in order. Those that make no sense are left out, and nothing behind the head or
/// the page's first megabyte counts.
pub fn meta_tags(page: impl Read) -> io::Result<Vec<MetaTag>> {
    let mut emitter = DefaultEmitter::default();
    // Or what a script writes would look like a tag.
    emitter.naively_switch_states(true);
    let mut tags = Vec::new();
    for token in Tokenizer::new_with_emitter(IoReader::new(page.take(MAX_PAGE_BYTES)), emitter) {
        match token? {
            Token::StartTag(tag) if **tag.name == *b"meta" => tags.extend(meta_tag(&tag)),
            Token::StartTag(tag) if **tag.name == *b"body" => break,
            Token::EndTag(tag) if **tag.name == *b"head" => break,
            _ => {}
        }
        if tags.len() >= MAX_TAGS {
            break;
        }
    }
    Ok(tags)
}

fn meta_tag(tag: &StartTag<()>) -> Option<MetaTag> {
    let attribute = |name: &str| tag.attributes.get(name.as_bytes()).and_then(text);
    let name = attribute("name").filter(|name| name.starts_with("ac-discovery"))?.to_owned();
    let mut words = attribute("content")?.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(prefix), Some(template), None) => {
            Some(MetaTag { name, prefix: prefix.to_owned(), template: template.to_owned() })
        }
        _ => None,
    }
}

fn text(value: &Spanned<HtmlString, ()>) -> Option<&str> {
    std::str::from_utf8(&value.value).ok()
}

//! POSIX ACLs as the kernel's extended attributes hold them (linux/posix_acl_xattr.h), in the short text form of acl(5):
//! `u::rw,u:1000:r,g::r,m::rw,o::-`.

const VERSION: u32 = 2;
const UNDEFINED: u32 = u32::MAX;
const TAGS: [(&str, bool, u16); 6] = [
    ("u", false, 0x01),
    ("u", true, 0x02),
    ("g", false, 0x04),
    ("g", true, 0x08),
    ("m", false, 0x10),
    ("o", false, 0x20),
];

/// The attribute of the `access` or `default` ACL.
pub(crate) fn attribute(kind: &str) -> &'static str {
    match kind {
        "default" => "system.posix_acl_default",
        _ => "system.posix_acl_access",
    }
}

/// The attribute's value; None for text that is no ACL.
pub(crate) fn encode(text: &str) -> Option<Vec<u8>> {
    let mut value = VERSION.to_le_bytes().to_vec();
    for entry in text.split(',') {
        let mut parts = entry.split(':');
        let (tag, id, rights) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, _, tag) = TAGS.iter().find(|(name, named, _)| *name == tag && *named != id.is_empty())?;
        let bit = |letter, bit: u16| if rights.contains(letter) { bit } else { 0 };
        let rights = bit('r', 4) | bit('w', 2) | bit('x', 1);
        let id = if id.is_empty() { UNDEFINED } else { id.parse().ok()? };
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&rights.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Some(value)
}

/// The text of an attribute's value.
pub(crate) fn decode(value: &[u8]) -> String {
    let entries = value.get(4..).unwrap_or_default().chunks_exact(8).filter_map(|entry| {
        let half = |at: usize| Some(u16::from_le_bytes(entry.get(at..at + 2)?.try_into().ok()?));
        let id = u32::from_le_bytes(entry.get(4..8)?.try_into().ok()?);
        let (tag, rights) = (half(0)?, half(2)?);
        let (name, named, _) = TAGS.iter().find(|(_, _, known)| *known == tag)?;
        let id = if *named { id.to_string() } else { String::new() };
        let letters: String = [('r', 4), ('w', 2), ('x', 1)]
            .iter()
            .filter(|(_, bit)| rights & bit != 0)
            .map(|(l, _)| *l)
            .collect();
        Some(format!("{name}:{id}:{}", if letters.is_empty() { "-" } else { &letters }))
    });
    entries.collect::<Vec<_>>().join("+")
}

//! Forms, as browsers and curl send them.
//!
//! Responsible for: the exact bytes of a field, which need not be text: they are signed. Must not know: what fields mean. Follows the
//! URL standard, "application/x-www-form-urlencoded".

/// The first field of this name. None if there is none or it is malformed.
pub fn field(form: &[u8], name: &str) -> Option<Vec<u8>> {
    form.split(|byte| *byte == b'&')
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
        })
        .find(|(found, _)| decode(found).as_deref() == Some(name.as_bytes()))
        .and_then(|(_, value)| decode(value))
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(*rest.next()?)? << 4 | digit(*rest.next()?)?,
            other => *other,
        });
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

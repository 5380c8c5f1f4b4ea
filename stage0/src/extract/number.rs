//! Numbers in the fields of tar headers: octal text, or binary where GNU tar found that too small.

/// A numeric field of a header: octal text, or binary with the top bit set.
pub(super) fn numeric(field: &[u8]) -> Option<u64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let mut value = u64::from(first & 0x7f);
        for byte in field.get(1..)? {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return Some(value);
    }
    let text = field.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// Like [`numeric`], for a field that may be negative: binary numbers are two's complement.
pub(super) fn signed(field: &[u8]) -> Option<i64> {
    if field.first()? & 0x80 == 0 {
        return i64::try_from(numeric(field)?).ok();
    }
    let (_, low) = field.split_last_chunk::<8>()?;
    Some(i64::from_be_bytes(*low))
}

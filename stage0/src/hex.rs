//! Bytes as hexadecimal digits.

/// Two lower-case digits for each byte.
pub fn lower(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

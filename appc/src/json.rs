//! Decoding manifest JSON the way Go's decoder does.
//!
//! Responsible for: `null` standing for "empty" and for decode errors that show where. Must not know: the manifests'
//! fields. Follows Go's encoding/json, whose output the manifests of existing images are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{AppcError, MAX_MANIFEST_BYTES};

/// Text shown on either side of a decode error.
const EXCERPT_CHARS: usize = 30;

/// `null` is the same as an absent field.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Empty lists are written as `null`, as Go writes a nil slice.
pub(crate) fn empty_as_null<S: Serializer, T: Serialize>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

pub(crate) fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, AppcError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(AppcError::TooLarge { kind, found: bytes.len(), limit: MAX_MANIFEST_BYTES });
    }
    serde_json::from_slice(bytes).map_err(|e| AppcError::Json {
        kind,
        excerpt: excerpt(bytes, e.line(), e.column()),
        reason: e.to_string(),
    })
}

/// The text around line and column (both from 1), with the offending place marked.
fn excerpt(bytes: &[u8], line: usize, column: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let Some(line) = line.checked_sub(1).and_then(|index| text.lines().nth(index)) else {
        return String::new();
    };
    let before: String = line.chars().take(column).collect();
    let skipped = before.chars().count().saturating_sub(EXCERPT_CHARS);
    let before: String = before.chars().skip(skipped).filter(|c| !c.is_control()).collect();
    let after: String = line.chars().skip(column).take(EXCERPT_CHARS).filter(|c| !c.is_control()).collect();
    if before.is_empty() && after.is_empty() { String::new() } else { format!(": {before}[HERE]{after}") }
}

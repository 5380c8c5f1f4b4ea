//! pax extended headers: records of `LENGTH KEY=VALUE\n` before the entry they belong to.

use super::{ExtractError, MAX_XATTRS};

/// Prefix of records that carry extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the extended headers before an entry say. Fields not listed here do not matter to an image.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `GNU.sparse.…` records without the prefix, in order: their order carries meaning in format 0.0.
    pub sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    /// Adds the records of one extended header.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), ExtractError> {
        while !bytes.is_empty() && bytes.iter().any(|byte| *byte != 0) {
            let (key, value, rest) = split_record(bytes).ok_or_else(bad_record)?;
            self.add(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), ExtractError> {
        // An empty value takes back what a record before it said (POSIX pax, "Extended Header Keywords").
        let number = || match value {
            b"" => Ok(None),
            value => decimal(value).map(Some).ok_or_else(bad_record),
        };
        let text = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or_else(bad_record)?),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    if self.xattrs.len() >= MAX_XATTRS {
                        let limit = MAX_XATTRS as u64;
                        return Err(ExtractError::limit("extended attributes of one entry", limit));
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// The last `GNU.sparse.NAME` record.
    pub fn sparse_record(&self, name: &[u8]) -> Option<&[u8]> {
        self.sparse.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }
}

fn bad_record() -> ExtractError {
    ExtractError::malformed("a pax record cannot be read")
}

/// Key, value, and what follows the record.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals + 1..)?, rest))
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    // `str::parse` would accept a leading plus sign.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds since 1970 with an optional sign and fraction.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at_checked(dot)?;
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    let digits = fraction.get(1..).unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0_u32, |sum, i| {
        sum * 10 + u32::from(digits.get(i).map_or(0, |digit| digit.saturating_sub(b'0')))
    });
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // Time stamps of the kernel count nanoseconds forward from the second below.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

//! Names of archive entries.
//!
//! Responsible for: the one place that decides where an entry may go. Must not know: whether anything is there.
//! Follows appc-spec `spec/aci.md`: an image holds `manifest` and `rootfs`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{ExtractError, MAX_COMPONENT_BYTES, MAX_DEPTH, MAX_PATH_BYTES};

/// Where an entry belongs. A path is relative to the image's `rootfs` and made of real names only: no empty one, no
/// `.`, no `..`. The empty path is `rootfs` itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryName {
    /// The directory that holds both others, `./` in the archive.
    Top,
    /// The image manifest.
    Manifest,
    /// Something in, or the root of, the image's file system.
    Rootfs(OsString),
}

impl EntryName {
    /// Parses an entry's name, or the target of a hard link. Errors: [`ExtractError::Refused`] with the name.
    pub fn parse(name: &[u8]) -> Result<Self, ExtractError> {
        if name.first() == Some(&b'/') {
            return Err(ExtractError::refused(name, "the name is absolute"));
        }
        match components(name)?.as_slice() {
            [] => Ok(Self::Top),
            [b"manifest"] => Ok(Self::Manifest),
            [b"rootfs", path @ ..] => Ok(Self::Rootfs(OsStr::from_bytes(&path.join(&b'/')).to_owned())),
            _ => Err(ExtractError::refused(name, "an image holds \"manifest\" and \"rootfs\", nothing else")),
        }
    }
}

/// The real names in a relative path, none of them empty, `.` or `..`; no name at all for the directory itself.
pub(super) fn components(name: &[u8]) -> Result<Vec<&[u8]>, ExtractError> {
    if name.is_empty() {
        return Err(ExtractError::refused(name, "the name is empty"));
    }
    if name.len() > MAX_PATH_BYTES {
        return Err(too_long(name, name.len(), MAX_PATH_BYTES));
    }
    if name.contains(&0) {
        return Err(ExtractError::refused(name, "the name contains a zero byte"));
    }
    let mut components = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                return Err(ExtractError::refused(name, "the name leads out of the image with \"..\""));
            }
            long if long.len() > MAX_COMPONENT_BYTES => {
                return Err(too_long(name, long.len(), MAX_COMPONENT_BYTES));
            }
            other => components.push(other),
        }
    }
    if components.len() > MAX_DEPTH {
        return Err(ExtractError::refused(
            name,
            format!("it is nested more than {MAX_DEPTH} directories deep"),
        ));
    }
    Ok(components)
}

fn too_long(name: &[u8], found: usize, limit: usize) -> ExtractError {
    ExtractError::refused(
        name,
        format!("a name of {found} bytes is too long (ENAMETOOLONG: at most {limit})"),
    )
}

//! What an archive is and which of its entries are wanted.
//!
//! Responsible for: telling where an entry goes, by the kind of archive, and whether a whitelist wants it there. Must not
//! know: whether anything is there already. Follows appc-spec `spec/aci.md`, OCI image-spec `layer.md` ("Whiteouts")
//! and rkt-reference.md 3.9 (whitelists).

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::ExtractError;
use super::entry_name::{EntryName, components};

/// Names that begin with this hide something of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides everything of the layers below in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping, which very old layers carry: no part of the image.
const BOOKKEEPING: &[u8] = b".wh..wh.";

/// How an archive is to be written. Everything the jailed process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// What its names mean.
    pub layout: Layout,
    /// Which of its entries are wanted.
    pub selection: Selection,
}

/// What the names of an archive mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// An application container image: `manifest` and `rootfs/…`.
    Image,
    /// An OCI layer: paths of the root file system, and whiteouts.
    Layer,
}

/// Where an entry belongs. Paths are relative to the root file system; the empty one is its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Not in the root file system.
    Elsewhere,
    /// There.
    At(OsString),
    /// Nowhere: it says that lower layers have nothing at this path.
    Hides(OsString),
    /// Nowhere: it says that lower layers have nothing in this directory.
    HidesAllIn(OsString),
}

impl Layout {
    /// Where the entry of this name, or the target of a hard link, belongs.
    pub(super) fn place(self, name: &[u8]) -> Result<Place, ExtractError> {
        match self {
            Self::Image => Ok(match EntryName::parse(name)? {
                EntryName::Rootfs(path) => Place::At(path),
                EntryName::Top | EntryName::Manifest => Place::Elsewhere,
            }),
            Self::Layer => place_in_layer(name),
        }
    }
}

fn place_in_layer(name: &[u8]) -> Result<Place, ExtractError> {
    // Some builders write absolute names; in a layer they can only mean the root of the image.
    let start = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
    let relative =
        if start == name.len() && start > 0 { b"." } else { name.get(start..).unwrap_or_default() };
    let components = components(relative)?;
    let Some((last, parents)) = components.split_last() else {
        return Ok(Place::At(OsString::new()));
    };
    if components.iter().any(|component| component.starts_with(BOOKKEEPING) && *component != OPAQUE) {
        return Ok(Place::Elsewhere);
    }
    if parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
        return Err(ExtractError::refused(name, "it lies below a whiteout"));
    }
    if *last == OPAQUE {
        return Ok(Place::HidesAllIn(joined(parents)));
    }
    let Some(hidden) = last.strip_prefix(WHITEOUT) else {
        return Ok(Place::At(joined(&components)));
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(ExtractError::refused(name, "it is a whiteout of no name in its directory"));
    }
    Ok(Place::Hides(joined(&[parents, &[hidden]].concat())))
}

fn joined(components: &[&[u8]]) -> OsString {
    OsStr::from_bytes(&components.join(&b'/')).to_owned()
}

/// Which paths are wanted. Lists hold paths below the root without a leading slash; none means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The image's own list, which directories are exempt from.
    pub own: Option<HashSet<String>>,
    /// The list of the topmost image above that has one.
    pub above: Option<HashSet<String>>,
}

impl Selection {
    /// Whether an entry at `path` is wanted.
    pub fn includes(&self, path: &OsStr, is_directory: bool) -> bool {
        // Lists come from JSON, so they hold no path that is not text.
        let listed = |list: &HashSet<String>| path.to_str().is_some_and(|path| list.contains(path));
        path.is_empty()
            || (self.above.as_ref().is_none_or(listed)
                && (is_directory || self.own.as_ref().is_none_or(listed)))
    }
}

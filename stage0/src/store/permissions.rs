//! Modes of the stores' files and directories.
//!
//! Responsible for: giving what is made here the mode it is meant to have, whatever the umask: members of group `rkt`
//! share the store. Must not know: what is kept where. Follows rkt-reference.md 2.1.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::StoreError;

/// The data directory: the group may look, only rkt adds to it.
pub(super) const DATA_DIRECTORY: u32 = 0o2750;
/// Directories that the group shares: what is made in them belongs to the group too.
pub(super) const SHARED_DIRECTORY: u32 = 0o2770;
/// Files that the group shares.
pub(super) const SHARED_FILE: u32 = 0o660;

/// Makes a directory and its missing parents with this mode. One that is there keeps its own.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent, mode)?;
    }
    match std::fs::create_dir(path) {
        // Somebody else was faster, and sets the mode.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(StoreError::file("create", path)),
    }
}

/// Lets the group use a file that this user may have made just now.
pub(super) fn share(file: &File, path: &Path) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(StoreError::file("stat", path))?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || metadata.mode() & 0o777 == SHARED_FILE {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(SHARED_FILE))
        .map_err(StoreError::file("set the mode of", path))
}

//! Whiteouts: how a layer hides what lies below it.
//!
//! Responsible for: removing what a whiteout hides and keeping what the layer itself has written, in whatever order the
//! two come. Must not know: names of whiteouts. Follows OCI image-spec `layer.md` ("Whiteouts").

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::root::{Root, is_directory, names_in, remove_tree, split};

/// The paths that this layer has written, and all directories above them. Kept as hashes with a random key: eight bytes
/// a path, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Written {
    paths: HashSet<u64>,
    /// Directories that hold nothing of lower layers any more. Looking through them once for each mark that says so
    /// would take the square of an archive's size.
    cleared: HashSet<u64>,
    hasher: RandomState,
}

impl Written {
    /// Remembers a path of this layer.
    pub fn add(&mut self, path: &OsStr) {
        let mut path = path.as_bytes();
        // Where a directory is known, so are those above it.
        while self.paths.insert(self.hasher.hash_one(path)) && !path.is_empty() {
            let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            path = path.get(..end).unwrap_or_default();
        }
    }

    /// Whether this layer has written the path, or something below it.
    pub fn contains(&self, path: &OsStr) -> bool {
        self.paths.contains(&self.hasher.hash_one(path.as_bytes()))
    }

    /// Remembers that the lower layers have nothing below `path`. False if that was so already.
    fn clear(&mut self, path: &OsStr) -> bool {
        self.cleared.insert(self.hasher.hash_one(path.as_bytes()))
    }
}

/// Hides the lower layers' `path`. Nothing there is no error.
pub(super) fn hide(root: &mut Root, written: &mut Written, path: &OsStr) -> io::Result<()> {
    let (parent, name) = split(path);
    // What is behind something that is no directory is not there.
    let Some(_) = existing(root, parent)? else {
        return Ok(());
    };
    let parent = root.directory_to_change(parent)?;
    if !written.contains(path) {
        root.forget();
        return remove_tree(parent.as_fd(), name);
    }
    hide_all_in(root, written, path)
}

/// Hides everything of the lower layers in the directory `path`, but not the directory.
pub(super) fn hide_all_in(root: &mut Root, written: &mut Written, path: &OsStr) -> io::Result<()> {
    if !written.clear(path) {
        return Ok(());
    }
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let Some(_) = existing(root, &path)? else {
            continue;
        };
        let directory = root.directory_to_change(&path)?;
        for name in names_in(&*directory)? {
            let child = match path.is_empty() {
                true => name.clone(),
                false => OsStr::from_bytes(&[path.as_bytes(), b"/", name.as_bytes()].concat()).to_owned(),
            };
            if !written.contains(&child) {
                remove_tree(directory.as_fd(), &name)?;
            } else if is_directory(&directory, &name)? {
                waiting.push(child);
            }
        }
        root.forget();
    }
    Ok(())
}

fn existing(root: &Root, path: &OsStr) -> io::Result<Option<OwnedFd>> {
    match root.directory(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

//! Where a command's output goes: a file or a directory that the user names.
//!
//! Responsible for: making it appear under its name whole or not at all, whatever fails, and following no link that is not
//! in the path the user typed. Must not know: what is written. Follows rkt-reference.md 1.6 (`--overwrite`) and rename(2).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use uuid::Uuid;

use crate::error::{FileContext, Result, Stage0Error};
use crate::extract::remove_tree;
use crate::fault;

/// Mode of directories that are made on the way, and of the output directory; the umask takes from it.
const DIRECTORY_MODE: u32 = 0o755;
/// Mode of an output file; the umask takes from it.
const FILE_MODE: u32 = 0o644;
/// What the names of unfinished output begin with; the rest is random.
const DRAFT_PREFIX: &str = ".rkt-";

/// A name in a directory that is held open, so that nobody can put another in its place.
#[derive(Debug)]
pub(in crate::commands) struct Place {
    directory: OwnedFd,
    /// The directory without symbolic links.
    path: PathBuf,
    name: OsString,
}

impl Place {
    /// The place that `path` names in a directory that exists.
    pub fn of(path: &Path) -> Result<Self> {
        // `.`, `..` and `a/..` have no name of their own to be renamed to.
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
            _ => {
                let path = path.canonicalize().file("find", path)?;
                match (path.parent(), path.file_name()) {
                    (Some(parent), Some(name)) => (parent.to_owned(), name.to_owned()),
                    _ => {
                        return Err(Stage0Error::refused(
                            "this would delete your root filesystem. Refusing.",
                        ));
                    }
                }
            }
        };
        let parent = if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent };
        let path = parent.canonicalize().file("find", &parent)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).file("open", &path)?;
        Ok(Place { directory, path, name })
    }

    /// The same for a directory; missing directories above it are made.
    pub fn of_directory(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(DIRECTORY_MODE).create(parent).file("create", parent)?;
        }
        Self::of(path)
    }

    /// The place's path, for messages and comparisons.
    pub fn path(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    /// Whether something has the name already; a link that leads nowhere is something, too.
    pub fn is_taken(&self) -> Result<bool> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).file("inspect", &self.path()),
        }
    }

    /// Begins a directory that will be published here.
    pub fn draft_directory(self) -> Result<Draft> {
        let draft = self.draft();
        let (directory, mode) = (&draft.place.directory, Mode::from_raw_mode(DIRECTORY_MODE));
        rustix::fs::mkdirat(directory, &draft.name, mode).file("create a directory in", &draft.place.path)?;
        fault::point("output.directory.made");
        Ok(draft)
    }

    /// Begins a file that will be published here.
    pub fn draft_file(self) -> Result<(Draft, File)> {
        let draft = self.draft();
        let directory = &draft.place.directory;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file = rustix::fs::openat(directory, &draft.name, flags, mode)
            .file("create a file in", &draft.place.path)?;
        fault::point("output.file.made");
        Ok((draft, file.into()))
    }

    fn draft(self) -> Draft {
        Draft { place: self, name: draft_name() }
    }

    fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> std::result::Result<(), Errno> {
        rustix::fs::renameat_with(&self.directory, from, &self.directory, to, flags)
    }
}

/// Unfinished output beside its place. Dropping it removes it.
#[derive(Debug)]
pub(in crate::commands) struct Draft {
    place: Place,
    name: OsString,
}

impl Draft {
    /// Where to write meanwhile.
    pub fn path(&self) -> PathBuf {
        self.place.path.join(&self.name)
    }

    /// Gives the output its name. What had it is removed if `overwrite`, and only once the output is in its place; else
    /// it stays and `exists` is the error.
    pub fn publish(self, overwrite: bool, exists: &str) -> Result<()> {
        let place = &self.place;
        let shown = place.path();
        match place.rename(&self.name, &place.name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // Not every file system can do it; then a look has to do.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if !place.is_taken()? {
                    return place
                        .rename(&self.name, &place.name, RenameFlags::empty())
                        .file("create", &shown);
                }
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).file("create", &shown),
        }
        if !overwrite {
            return Err(Stage0Error::refused(exists));
        }
        match place.rename(&self.name, &place.name, RenameFlags::EXCHANGE) {
            // Now the old one has the unfinished name, and goes when this is dropped.
            Ok(()) => self.discard().file("remove what was", &shown),
            Err(Errno::INVAL | Errno::NOSYS) => {
                let old = draft_name();
                place.rename(&place.name, &old, RenameFlags::empty()).file("replace", &shown)?;
                place.rename(&self.name, &place.name, RenameFlags::empty()).file("create", &shown)?;
                remove_tree(place.directory.as_fd(), &old).file("remove what was", &shown)
            }
            Err(error) => Err(error).file("replace", &shown),
        }
    }

    fn discard(&self) -> std::io::Result<()> {
        remove_tree(self.place.directory.as_fd(), &self.name)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publication there is nothing of that name; what cannot be removed has been reported as another error.
        let _ = self.discard();
    }
}

fn draft_name() -> OsString {
    format!("{DRAFT_PREFIX}{}", Uuid::new_v4()).into()
}

/// Whether `path` leads to something that has no content to replace: a terminal, a pipe, a device.
pub(in crate::commands) fn is_stream(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| {
        !matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory)
    })
}

/// The file that will be overwritten: behind a link it is the link's target, as it is for every program that opens files.
pub(in crate::commands) fn behind_link(output: &Path, overwrite: bool) -> PathBuf {
    if overwrite && output.is_file() {
        output.canonicalize().unwrap_or_else(|_| output.to_owned())
    } else {
        output.to_owned()
    }
}

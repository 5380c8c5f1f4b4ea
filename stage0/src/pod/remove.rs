//! Deleting a pod's files.
//!
//! Responsible for: removing a tree whose content came from a guest. Must not know: pods. Follows
//! rkt-reference.md 2.7.
//!
//! An app can nest directories as deep as its disk allows, and leave symlinks and names of every kind. So the
//! walk never follows a link, never leaves the mount it began in, and holds a bounded number of descriptors: what is nested
//! deeper than that is moved to the top first.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use crate::fault;

/// Directories open at once. The usual limit is 1,024 descriptors.
const MAX_DEPTH: usize = 64;

/// Removes `name` in `parent` and everything below it. One that is not there is no error. Errors: `XDEV` or `BUSY` when something is
/// mounted in the tree.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let top = open_directory(parent, name)?;
    let mut moved = 0_u64;
    empty(&top, top.as_fd(), 1, &mut moved)?;
    // Each pass over what was moved to the top moves less than it found: a chain of depth n shrinks by MAX_DEPTH.
    let mut done = 0;
    while done < moved {
        done = moved;
        empty(&top, top.as_fd(), 1, &mut moved)?;
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes a path in the same way.
pub fn remove_path(path: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        parent => parent?,
    };
    let name = std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    remove_tree(parent.as_fd(), &name)
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    fs::openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
    )
}

/// Empties `directory`, which is `depth` levels below `top`.
fn empty(directory: &OwnedFd, top: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {
                    fault::point("delete.file.removed");
                    continue;
                }
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error),
            }
        }
        if depth >= MAX_DEPTH {
            move_to_top(directory, name, top, moved)?;
            continue;
        }
        let child = open_directory(directory.as_fd(), name)?;
        empty(&child, top, depth + 1, moved)?;
        drop(child);
        fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

fn move_to_top(directory: &OwnedFd, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<()> {
    loop {
        *moved += 1;
        let target = format!(".removing-{moved}");
        match fs::renameat_with(directory, name, top, target.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

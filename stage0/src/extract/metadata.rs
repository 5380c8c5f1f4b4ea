//! What an entry gets besides its content: owner, mode, times, extended attributes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, flistxattr,
    flistxattr_query, fremovexattr, fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;

use super::Entry;

/// Longest list of attribute names that the kernel gives (XATTR_LIST_MAX).
const MAX_XATTR_LIST_BYTES: usize = 64 * 1024;

/// What an entry gets besides its content.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    times: Timestamps,
    /// Only those that are kept.
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// Of this entry.
    pub fn of(entry: &Entry) -> Self {
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        let xattrs = entry.xattrs.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            times: Timestamps { last_access: time, last_modification: time },
            xattrs,
        }
    }

    /// Puts all of it on an open file or directory. Errors come with the verb of what failed.
    pub fn apply(&self, file: BorrowedFd<'_>, keep_owner: bool) -> Result<(), (&'static str, io::Error)> {
        // The owner first: changing it clears set-user-ID bits and capabilities.
        if keep_owner {
            fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
                .map_err(|e| ("set the owner of", e.into()))?;
        }
        fchmod(file, Mode::from_raw_mode(self.mode)).map_err(|e| ("set the mode of", e.into()))?;
        for (name, value) in &self.xattrs {
            fsetxattr(file, name.as_slice(), value, XattrFlags::empty())
                .map_err(|e| ("set an extended attribute of", e.into()))?;
        }
        futimens(file, &self.times).map_err(|e| ("set the time of", e.into()))
    }

    /// Puts owner and time on something that cannot be opened: a link, a device, a pipe.
    pub fn apply_at(&self, parent: BorrowedFd<'_>, name: &OsStr, keep_owner: bool) -> io::Result<()> {
        if keep_owner {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(utimensat(parent, name, &self.times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Takes attributes off a directory of a lower layer that this entry, which replaces it, does not have.
    pub fn remove_other_xattrs(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        for name in listed_xattrs(directory)? {
            if is_kept(&name) && !self.xattrs.iter().any(|(kept, _)| *kept == name) {
                fremovexattr(directory, name.as_slice())?;
            }
        }
        Ok(())
    }
}

/// Whether an attribute belongs to an image. Only capabilities and users' own do: others (labels of security modules,
/// ACLs of the builder's users) belong to the machine that made the image.
pub fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.")
}

/// The names of all attributes of a file.
pub fn listed_xattrs(file: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    // Almost no file has one, and asking for the length alone is cheaper than a buffer.
    match flistxattr_query(&file) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(e) => return Err(e.into()),
    }
    let mut list = vec![0; MAX_XATTR_LIST_BYTES];
    let length = flistxattr(&file, &mut list)?;
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

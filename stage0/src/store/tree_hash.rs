//! One hash over everything in a rendered tree.
//!
//! Responsible for: noticing any later change but times. Must not know: how the tree came to be. Follows
//! rkt-reference.md 2.9: in walk order, JSON of each entry's metadata, then a file's content.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use serde::Serialize;
use sha2::{Digest, Sha512};

use super::{Key, StoreError};

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// Longest list of attribute names and longest attribute the kernel gives (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MAX_XATTR_BYTES: usize = 64 * 1024;

/// Hash and size of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeSummary {
    /// In key form.
    pub hash: String,
    /// Bytes in regular files, holes not counted.
    pub bytes: u64,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    kind: &'static str,
    link: &'a [u8],
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Reads the whole tree below `rootfs`, never following a link or opening a device.
pub(super) fn summarise(rootfs: &Path) -> Result<TreeSummary, StoreError> {
    let directory = File::open(rootfs).map_err(StoreError::file("open", rootfs))?;
    let mut walk = Walk { hash: Sha512::new(), bytes: 0, buffer: vec![0; BUFFER_BYTES] };
    walk.tree(directory.into()).map_err(StoreError::file("read", rootfs))?;
    Ok(TreeSummary { hash: Key::of(walk.hash).to_string(), bytes: walk.bytes })
}

struct Walk {
    hash: Sha512,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Walk {
    /// Depth-first, each directory's entries by name; no recursion, so depth costs no stack.
    fn tree(&mut self, root: OwnedFd) -> io::Result<()> {
        self.entry(&root, OsString::from("."), b"")?;
        let mut waiting = vec![(root, Vec::new(), None::<Vec<OsString>>)];
        while let Some((directory, path, names)) = waiting.pop() {
            let mut names = match names {
                Some(names) => names,
                None => names_in(&directory)?,
            };
            let Some(name) = names.pop() else {
                continue;
            };
            let mut child_path: Vec<u8> = path.clone();
            child_path.push(b'/');
            child_path.extend_from_slice(name.as_bytes());
            let child = self.entry(&directory, name, &child_path)?;
            waiting.push((directory, path, Some(names)));
            if let Some(child) = child {
                waiting.push((child, child_path, None));
            }
        }
        Ok(())
    }

    /// Hashes one entry; returns it opened if it is a directory to walk into.
    fn entry(&mut self, parent: &OwnedFd, name: OsString, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let stat = statat(parent, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match kind {
            FileType::RegularFile | FileType::Directory => {
                Some(openat(parent, name.as_os_str(), flags, Mode::empty())?)
            }
            _ => None,
        };
        let link = match kind {
            FileType::Symlink => readlinkat(parent, name.as_os_str(), Vec::new())?.into_bytes(),
            _ => Vec::new(),
        };
        let is_file = kind == FileType::RegularFile;
        let metadata = Metadata {
            name: path,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            // The size of a directory depends on the file system and its history.
            size: if is_file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            kind: match kind {
                FileType::RegularFile => "file",
                FileType::Directory => "directory",
                FileType::Symlink => "symlink",
                FileType::Fifo => "fifo",
                FileType::CharacterDevice => "char",
                FileType::BlockDevice => "block",
                _ => "other",
            },
            link: &link,
            device: stat.st_rdev,
            xattrs: opened.as_ref().map(xattrs).transpose()?.unwrap_or_default(),
        };
        self.hash.update(serde_json::to_vec(&metadata).map_err(io::Error::other)?);
        if is_file {
            // st_blocks counts units of 512 bytes whatever the file system's own are.
            self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        match opened {
            Some(file) if is_file => {
                let mut file = File::from(file);
                loop {
                    let count = file.read(&mut self.buffer)?;
                    if count == 0 {
                        return Ok(None);
                    }
                    self.hash.update(self.buffer.get(..count).unwrap_or_default());
                }
            }
            other => Ok(other),
        }
    }
}

/// The names in a directory, last one first, so that popping yields them in order.
fn names_in(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_by(|a, b| b.cmp(a));
    Ok(names)
}

/// The attributes that extraction sets; others (security modules' labels) may change with the host's policy.
fn xattrs(fd: &OwnedFd) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; MAX_XATTR_BYTES];
    let length = match rustix::fs::flistxattr(fd, &mut list) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut found = BTreeMap::new();
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if name.starts_with(b"security.capability") || name.starts_with(b"user.") {
            let mut value = vec![0; MAX_XATTR_BYTES];
            let length = rustix::fs::fgetxattr(fd, name, &mut value)?;
            value.truncate(length);
            found.insert(name.to_vec(), value);
        }
    }
    Ok(found)
}

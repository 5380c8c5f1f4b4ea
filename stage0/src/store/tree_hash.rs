//! One hash over everything in a rendered tree.
//!
//! Responsible for: noticing any later change but times. Must not know: how the tree came to be. Follows
//! rkt-reference.md 2.9 in what counts: names, modes, owners, sizes, kinds, link targets, device numbers, extended
//! attributes and contents. The form is our own, and says so: BLAKE3, for it is several times as fast as SHA-512.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use blake3::Hasher;
use rustix::fs::FileType;

use super::StoreError;
use super::walk::{Found, read_all, walk, xattrs};

/// Before every hash of this form. Other versions of rkt, the Go one included, write others.
const FORM: &str = "rkt-tree-1-blake3-";
/// Bytes read at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// Hash and size of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeSummary {
    /// With its form.
    pub hash: String,
    /// Bytes in regular files, holes not counted.
    pub bytes: u64,
}

/// Whether a hash has the form that [`summarise`] computes.
pub(super) fn is_comparable(hash: &str) -> bool {
    hash.starts_with(FORM)
}

/// Reads the whole tree below `rootfs`, never following a link or opening a device.
pub(super) fn summarise(rootfs: &Path) -> Result<TreeSummary, StoreError> {
    let failed = |e: io::Error| StoreError::file("read", rootfs)(e);
    let mut hash = Hasher::new();
    let mut bytes = 0_u64;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut links = Links::default();
    walk(File::open(rootfs).map_err(failed)?, &mut |found| {
        // A file with several names counts once a name, like everywhere in a tar.
        // st_blocks counts units of 512 bytes whatever the file system's own are.
        if found.kind() == FileType::RegularFile {
            bytes = bytes.saturating_add(u64::try_from(found.stat.st_blocks).unwrap_or(0) * 512);
        }
        add(&mut hash, found, links.first_name(found), &mut buffer)
    })
    .map_err(failed)?;
    Ok(TreeSummary { hash: format!("{FORM}{}", hash.finalize().to_hex()), bytes })
}

/// Files with several names, by device and inode: a number for the first name that was found of each. A file is read
/// once: an archive can give a gigabyte millions of names.
#[derive(Default)]
struct Links(HashMap<(u64, u64), u64>);

impl Links {
    /// The number of the file's first name, if this is another.
    fn first_name(&mut self, found: &Found<'_>) -> Option<u64> {
        if found.is_directory() || found.stat.st_nlink < 2 {
            return None;
        }
        let next = self.0.len() as u64;
        let number = *self.0.entry((found.stat.st_dev, found.stat.st_ino)).or_insert(next);
        (number != next).then_some(number)
    }
}

/// Adds one file or directory; of another name of a file before it, only that.
fn add(hash: &mut Hasher, found: &Found<'_>, first_name: Option<u64>, buffer: &mut [u8]) -> io::Result<()> {
    let stat = &found.stat;
    let kind = found.kind();
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let size = match kind {
        FileType::RegularFile => stat.st_size.unsigned_abs(),
        // The size of a directory depends on the file system and its history.
        _ => 0,
    };
    field(hash, found.path);
    if let Some(number) = first_name {
        hash.update(b"link").update(&number.to_le_bytes());
        return Ok(());
    }
    // The kind stands in the upper bits of the mode.
    for number in [stat.st_mode.into(), stat.st_uid.into(), stat.st_gid.into(), size] {
        hash.update(&u64::to_le_bytes(number));
    }
    hash.update(&if is_device { stat.st_rdev } else { 0 }.to_le_bytes());
    field(hash, &found.link()?);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(());
    }
    let file = found.open()?;
    let xattrs = xattrs(&file)?;
    hash.update(&(xattrs.len() as u64).to_le_bytes());
    for (name, value) in &xattrs {
        field(hash, name);
        field(hash, value);
    }
    if kind == FileType::RegularFile {
        read_all(file, buffer, |bytes| {
            hash.update(bytes);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

/// With its length, so that no two lists of fields look alike.
fn field(hash: &mut Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

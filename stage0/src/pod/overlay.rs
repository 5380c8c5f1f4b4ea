//! Overlay file systems: a writable view of a rendered tree that leaves the tree alone.
//!
//! Responsible for: whether overlays can be used, their directories, mounting them. Must not know: which tree holds
//! what. Follows rkt-reference.md 2.5 and the kernel's Documentation/filesystems/overlayfs.rst.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags};

use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;
use crate::mount_attributes;

/// Magic numbers of file systems below which overlayfs does not work (statfs(2)).
const AUFS_MAGIC: u64 = 0x6175_6673;
const ZFS_MAGIC: u64 = 0x2FC1_2FC1;

/// Why overlays cannot be used on this data directory; `None` when they can.
pub fn unsupported(data: &Path) -> Result<Option<String>> {
    let statistics = rustix::fs::statfs(data).file("inspect", data)?;
    match u64::try_from(statistics.f_type) {
        Ok(AUFS_MAGIC) => return Ok(Some("unsupported filesystem: aufs".to_owned())),
        Ok(ZFS_MAGIC) => return Ok(Some("unsupported filesystem: zfs".to_owned())),
        _ => {}
    }
    if !has_entry_types(data)? {
        return Ok(Some("overlay can not be used with a filesystem whose entries carry no type".to_owned()));
    }
    // Asking for the file system loads its module, which after a boot is loaded by nobody else.
    let opened = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC);
    unknown_filesystem(opened.map(drop))
}

/// What the attempt to open the file system says.
fn unknown_filesystem(opened: rustix::io::Result<()>) -> Result<Option<String>> {
    match opened {
        Ok(()) => Ok(None),
        Err(Errno::NODEV) => Ok(Some("overlay filesystem not supported by this kernel".to_owned())),
        Err(error) => Err(error).context("cannot find out whether overlays are supported"),
    }
}

/// Overlayfs tells whiteouts from files by the type in the directory entry. `.` itself always has one where any has.
fn has_entry_types(directory: &Path) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty()).file("open", directory)?;
    let mut entries = rustix::fs::Dir::new(fd).file("read", directory)?;
    match entries.next() {
        Some(entry) => Ok(entry.file("read", directory)?.file_type() != FileType::Unknown),
        None => Ok(true),
    }
}

/// One overlay to mount.
#[derive(Debug)]
pub struct Overlay {
    /// The tree below, never written to.
    pub lower: PathBuf,
    /// Where changes go.
    pub upper: PathBuf,
    /// Scratch space of the kernel, on the same file system as `upper`.
    pub work: PathBuf,
    /// The mount point.
    pub target: PathBuf,
}

impl Overlay {
    /// Creates what is missing of the three directories, but not what they are in. `upper` takes the mode and owner of the tree's root, because
    /// they are the ones seen at the mount point.
    fn make(&self) -> Result<()> {
        let lower = std::fs::metadata(&self.lower).file("inspect", &self.lower)?;
        for directory in [&self.work, &self.target] {
            create(directory)?;
        }
        create(&self.upper)?;
        fault::point("overlay.made");
        let mode = std::fs::Permissions::from_mode(lower.mode() & 0o7777);
        std::fs::set_permissions(&self.upper, mode).file("change", &self.upper)?;
        if (lower.uid(), lower.gid()) != (0, 0) {
            std::os::unix::fs::chown(&self.upper, Some(lower.uid()), Some(lower.gid()))
                .file("change", &self.upper)?;
        }
        Ok(())
    }

    /// Makes everything that mounting takes and shows the tree alone at the mount point, read-only, for somebody else to mount the overlay
    /// there.
    pub fn leave(&self) -> Result<()> {
        self.make()?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(CWD, &self.lower, flags).file("open", &self.lower)?;
        mount_attributes::set(&tree, libc::MOUNT_ATTR_RDONLY).file("make read-only", &self.lower)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, &self.target, flags).file("mount at", &self.target)
    }

    /// Makes everything that is missing, and mounts.
    pub fn mount(&self) -> Result<()> {
        self.make()?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            escape(&self.lower)?,
            escape(&self.upper)?,
            escape(&self.work)?
        );
        let options_c = std::ffi::CString::new(options.as_str())
            .map_err(|_| Stage0Error::refused(format!("path with a NUL byte in {options:?}")))?;
        rustix::mount::mount("overlay", &self.target, "overlay", MountFlags::empty(), options_c.as_c_str())
            .map_err(|cause| Stage0Error::Overlay {
                options,
                target: self.target.clone(),
                cause: cause.into(),
            })
    }
}

fn create(directory: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.file("create", directory),
    }
}

/// Overlayfs splits its options at commas and its lower layers at colons.
fn escape(path: &Path) -> Result<String> {
    let text =
        path.to_str().ok_or_else(|| Stage0Error::refused(format!("path {path:?} is not valid UTF-8")))?;
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | ':' | ',') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_of_mount_options_are_escaped_in_paths() {
        assert_eq!(escape(Path::new("/a:b/c,d\\e")).unwrap(), "/a\\:b/c\\,d\\\\e");
    }

    #[test]
    fn a_kernel_without_overlays_is_a_reason_and_any_other_trouble_an_error() {
        assert_eq!(unknown_filesystem(Ok(())).unwrap(), None);
        assert!(
            unknown_filesystem(Err(Errno::NODEV)).unwrap().is_some_and(|why| why.contains("not supported"))
        );
        assert!(unknown_filesystem(Err(Errno::PERM)).is_err());
    }

    #[test]
    fn a_directory_of_this_machine_has_entry_types() {
        let directory = tempfile::tempdir().unwrap();

        assert!(has_entry_types(directory.path()).unwrap());
    }
}

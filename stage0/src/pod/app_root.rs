//! The files of an app as its pod left them, whether or not anything is mounted.
//!
//! Responsible for: one directory with what the app's image had and what the app changed, and nothing that is mounted in
//! it. Must not know: what they are wanted for. Follows rkt-reference.md 2.2, 2.5 and open_tree(2).
//!
//! What is mounted here has no mount point: the kernel unmounts it with its last descriptor, however rkt ends.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::locate::FoundPod;
use crate::error::{Context, FileContext, Result};
use crate::store::{IdShift, TreeId, TreeStore};

/// Opens only to have something to name.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the root directory of an app of an exited pod.
pub fn open(pod: &FoundPod, app: &str, trees: &TreeStore) -> Result<File> {
    let path = Path::new("stage1/rootfs/opt/stage2").join(app).join("rootfs");
    if pod.uses_overlay() {
        // What is mounted there, if anything is, may show other owners than the disk has: those of the pod's users.
        return merged(pod, app, trees);
    }
    let shown = pod.path().join(&path);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let root = open_place(pod, &path)?;
    let alone = rustix::mount::open_tree(&root, "", flags | OpenTreeFlags::AT_EMPTY_PATH)
        .file("look behind the mounts of", &shown)?;
    readable(&alone, &shown)
}

/// The range of the pod's IDs in `private-users-prepared`; every ID is its own without it.
pub fn id_shift(pod: &FoundPod) -> Result<IdShift> {
    let Some(text) = pod.private_users()? else { return Ok(IdShift::default()) };
    let invalid = || format!("problem deserializing the content of private-users-prepared: {text:?}");
    let (first, count) = text.split_once(':').unwrap_or((&text, ""));
    Ok(IdShift { first: first.parse().context(invalid())?, count: count.parse().context(invalid())? })
}

/// The image's tree under the app's changes, both only read.
fn merged(pod: &FoundPod, app: &str, trees: &TreeStore) -> Result<File> {
    let tree: TreeId = pod.app_tree(app)?.parse().context(format!("invalid tree store ID of app {app:?}"))?;
    let changes = Path::new("overlay").join(tree.as_str()).join("upper").join(app);
    let upper = open_place(pod, &changes)?;
    let lower = trees.rootfs(&tree);
    let lower = rustix::fs::open(&lower, PLACE, Mode::empty()).file("open", &lower)?;
    let shown = pod.path().join(changes);
    let mounted = mount(&upper, &lower).file("mount an overlay with", &shown)?;
    readable(&mounted, &shown)
}

/// The kernel takes 256 bytes for the value of an option, which two paths are longer than.
fn mount(upper: &OwnedFd, lower: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let layers = format!("/proc/self/fd/{}:/proc/self/fd/{}", upper.as_raw_fd(), lower.as_raw_fd());
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "lowerdir", layers)?;
    // Of an overlay with an index, the kernel lets nobody else have the layers.
    rustix::mount::fsconfig_set_string(context.as_fd(), "index", "off")?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn open_place(pod: &FoundPod, path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(pod.directory(), path, PLACE, Mode::empty()).file("open", &pod.path().join(path))
}

fn readable(place: &OwnedFd, shown: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(place, ".", flags, Mode::empty()).file("open", shown)?.into())
}

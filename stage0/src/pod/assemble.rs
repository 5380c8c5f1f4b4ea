//! Putting a prepared pod together: stage1's root with every app in its place.
//!
//! Responsible for: the overlays of a pod and what stage0 writes into stage1's root. Must not know: how stage1 is
//! started. Follows rkt-reference.md 2.5 and 4.3 ("Already prepared when `run` starts").

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::overlay::Overlay;
use super::prepare::{create_below, create_directory, write};
use super::prepared::PreparedApp;
use crate::error::{FileContext, Result};
use crate::fault;
use crate::store::{TreeId, TreeStore};

/// Where stage1's root has the apps, below the pod's directory.
const APPS: &str = "stage1/rootfs/opt/stage2";

/// The trees of a pod that uses overlays.
#[derive(Debug)]
pub struct PodTrees<'a> {
    /// The tree store.
    pub store: &'a TreeStore,
    /// stage1's tree.
    pub stage1: &'a TreeId,
    /// The apps' trees by app name.
    pub apps: Vec<(&'a str, &'a TreeId)>,
    /// Who besides root may look at what apps changed.
    pub group: Option<u32>,
    /// stage1 mounts those of apps itself.
    pub left_to_stage1: bool,
}

/// Mounts the overlays. What is mounted when this fails stays until the pod is collected.
pub fn mount_overlays(pod: &Path, trees: &PodTrees<'_>) -> Result<()> {
    mount_stage1(pod, trees.store, trees.stage1)?;
    fault::point("run.stage1.mounted");
    for (name, tree) in &trees.apps {
        mount_app(pod, trees.store, name, tree, trees.group, trees.left_to_stage1)?;
    }
    Ok(())
}

/// Mounts the overlay of one app, or all but mounts it.
pub fn mount_app(
    pod: &Path,
    store: &TreeStore,
    name: &str,
    tree: &TreeId,
    group: Option<u32>,
    left_to_stage1: bool,
) -> Result<()> {
    let own = Path::new("overlay").join(tree.as_str());
    for directory in [&own.join("upper"), &own.join("work"), &Path::new(APPS).join(name)] {
        create_below(pod, directory)?;
    }
    let own = pod.join(own);
    let target = app_directory(pod, name).join("rootfs");
    let overlay = Overlay {
        lower: store.rootfs(tree),
        upper: own.join("upper").join(name),
        work: own.join("work").join(name),
        target: target.clone(),
    };
    if left_to_stage1 {
        overlay.leave()?;
    } else {
        overlay.mount()?;
    }
    fault::point("run.app.mounted");
    if let Some(group) = group {
        std::os::unix::fs::chown(&own, None, Some(group)).file("change", &own)?;
    }
    if !left_to_stage1 {
        link_mtab(&target)?;
        fault::point("run.app.linked");
    }
    Ok(())
}

/// Mounts stage1's own overlay.
pub fn mount_stage1(pod: &Path, store: &TreeStore, tree: &TreeId) -> Result<()> {
    let overlays = overlay_directory(pod)?;
    let own = overlays.join(tree.as_str());
    // Exit codes are read from there by whoever may look at pods.
    create_directory(&own)?;
    let group = std::fs::metadata(&overlays).file("inspect", &overlays)?.gid();
    std::os::unix::fs::chown(&own, None, Some(group)).file("change", &own)?;
    let overlay = Overlay {
        lower: store.rootfs(tree),
        upper: own.join("upper"),
        work: own.join("work"),
        target: stage1_root(pod),
    };
    overlay.mount()
}

/// The directory of the pod's overlays. Pods inherit the data directory's group by its set-group-ID bit; here it ends,
/// or the roots of the apps would belong to that group.
fn overlay_directory(pod: &Path) -> Result<PathBuf> {
    let directory = pod.join("overlay");
    create_directory(&directory)?;
    std::fs::set_permissions(&directory, Permissions::from_mode(0o750)).file("change", &directory)?;
    Ok(directory)
}

/// Writes each app's image manifest into stage1's root.
pub fn write_apps(pod: &Path, apps: &[PreparedApp]) -> Result<()> {
    // Touched, so that the directory is in the upper layer: readers look for it there.
    let status = stage1_root(pod).join("rkt/status");
    create_directory(&status)?;
    touch(&status)?;
    fault::point("run.status.touched");
    for app in apps {
        let directory = app_directory(pod, &app.name);
        create_directory(&directory)?;
        write(&directory.join("manifest"), &app.manifest_json, 0o640)?;
        fault::point("run.app.written");
    }
    Ok(())
}

/// Where stage1's root is.
pub fn stage1_root(pod: &Path) -> PathBuf {
    pod.join("stage1/rootfs")
}

/// What stage1's root has of an app.
pub fn app_directory(pod: &Path, name: &str) -> PathBuf {
    pod.join(APPS).join(name)
}

fn touch(path: &Path) -> Result<()> {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .file("change", path)
}

/// Programs look for the list of mounts in `/etc/mtab`. Only a real `/etc` of the app is touched: a link could lead
/// anywhere on the host.
fn link_mtab(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    let mtab = etc.join("mtab");
    let is_directory = etc.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory && mtab.symlink_metadata().is_err() {
        symlink("../proc/self/mounts", &mtab).file("create", &mtab)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn overlays_do_not_inherit_the_group_of_the_data_directory() {
        let directory = tempfile::tempdir().unwrap();
        let pod = directory.path().join("pod");
        std::fs::create_dir(&pod).unwrap();
        std::fs::set_permissions(&pod, Permissions::from_mode(0o2750)).unwrap();

        let overlays = overlay_directory(&pod).unwrap();

        assert_eq!(overlays.metadata().unwrap().mode() & 0o7777, 0o750);
    }
}

//! Filling a new pod's directory: everything stage1 and later commands find there.
//!
//! Responsible for: names, modes and content of the files of a prepared pod. Must not know: where images came
//! from, how stage1 is started. Follows rkt-reference.md 2.2 and 2.6.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use appc::AcName;

use super::copy::copy_tree;
use super::lifecycle::{Pod, Prepare};
use super::user_range::UserRange;
use crate::error::{Context, FileContext, Result};
use crate::fault;
use crate::store::{TreeId, TreeStore};

/// An image of the pod: stage1's or an app's.
#[derive(Debug)]
pub struct PodImage {
    /// Its manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Its rendered tree.
    pub tree: TreeId,
}

/// Everything a pod is made of.
#[derive(Debug)]
pub struct PodContent<'a> {
    /// The pod manifest, byte for byte.
    pub manifest: &'a [u8],
    /// stage1's image.
    pub stage1: &'a PodImage,
    /// The apps in the manifest's order.
    pub apps: &'a [(AcName, PodImage)],
    /// Whether trees will be overlays; else they are copied now.
    pub overlay: bool,
    /// The host's IDs that copied files belong to, if the pod gets IDs of its own. With overlay there is no such thing.
    pub users: Option<UserRange>,
}

impl PodContent<'_> {
    /// Writes it all.
    pub fn write(&self, pod: &Pod<Prepare>, trees: &TreeStore) -> Result<()> {
        let path = pod.path();
        self.write_files(&path).context("error setting up pod directory")?;
        if !self.overlay {
            self.copy_trees(&path, trees).context("error copying images into the pod")?;
        }
        // Last, as its time is the pod's creation time.
        write(&path.join("pod-created"), b"", 0o640)?;
        fault::point("pod.created");
        Ok(())
    }

    fn write_files(&self, pod: &Path) -> Result<()> {
        write(&pod.join("pod.lck"), b"", 0o600)?;
        write(&pod.join("pod"), self.manifest, 0o640)?;
        fault::point("pod.manifest.written");
        if self.overlay {
            write(&pod.join("overlay-prepared"), b"", 0o640)?;
        }
        if let Some(users) = self.users {
            write(&pod.join("private-users-prepared"), users.to_string().as_bytes(), 0o640)?;
        }
        create_directory(&pod.join("stage1/rootfs"))?;
        fault::point("pod.stage1.made");
        write(&pod.join("stage1/manifest"), &self.stage1.manifest, 0o640)?;
        write(&pod.join("stage1TreeStoreID"), self.stage1.tree.as_str().as_bytes(), 0o640)?;
        fault::point("pod.stage1.written");
        for (name, image) in self.apps {
            let info = pod.join("appsinfo").join(name.as_str());
            create_directory(&info)?;
            write(&info.join("manifest"), &image.manifest, 0o640)?;
            fault::point("pod.app.written");
            if self.overlay {
                write(&info.join("treeStoreID"), image.tree.as_str().as_bytes(), 0o640)?;
            }
        }
        Ok(())
    }

    fn copy_trees(&self, pod: &Path, trees: &TreeStore) -> Result<()> {
        let stage1 = pod.join("stage1/rootfs");
        copy_tree(&trees.rootfs(&self.stage1.tree), &stage1, self.users)?;
        fault::point("pod.stage1.copied");
        for (name, image) in self.apps {
            let app = stage1.join("opt/stage2").join(name.as_str());
            create_directory(&app)?;
            if let Some(users) = self.users {
                let root = users.shift(0).file("change", &app)?;
                std::os::unix::fs::chown(&app, Some(root), Some(root)).file("change", &app)?;
            }
            copy_tree(&trees.rootfs(&image.tree), &app.join("rootfs"), self.users)?;
            fault::point("pod.app.copied");
        }
        Ok(())
    }
}

/// Creates a directory of a pod and the ones above it.
pub fn create_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).file("create", path)
}

/// Creates a directory below a pod's, and the ones between them: a pod that was moved or removed meanwhile does not come back.
pub fn create_below(pod: &Path, directory: &Path) -> Result<()> {
    let mut path = pod.to_owned();
    for part in directory {
        path.push(part);
        match std::fs::DirBuilder::new().mode(0o750).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.file("create", &path)?,
        }
    }
    Ok(())
}

/// Writes a file of a pod so that nobody sees half of it.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    write(new, content, mode)?;
    std::fs::rename(new, path).file("move", new)
}

/// Writes a file of a pod.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .file("create", path)?;
    file.write_all(content).file("write", path)
}

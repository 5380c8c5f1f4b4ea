//! What preparation left in a pod's directory, read back.
//!
//! Responsible for: everything the start of a pod needs to know, and that the trees it names are there. Must not know: flags,
//! how stage1 is called. Follows rkt-reference.md 2.2 and 2.5.

use std::path::Path;

use appc::{ImageManifest, PodManifest};

use super::locate::FoundPod;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::store::{TreeId, TreeStore};

/// A tree store ID is 76 characters, `SHIFT:COUNT` at most 21.
const MAX_VALUE_BYTES: u64 = 256;

/// A prepared pod's files.
#[derive(Debug)]
pub struct PreparedPod {
    /// The pod manifest.
    pub manifest: PodManifest,
    /// Its bytes.
    pub manifest_json: Vec<u8>,
    /// stage1's image manifest.
    pub stage1: ImageManifest,
    /// The apps in the manifest's order.
    pub apps: Vec<PreparedApp>,
    /// stage1's tree, if the pod's trees are overlays; else they were copied.
    pub overlay: Option<TreeId>,
    /// `SHIFT:COUNT` of the pod's user namespace.
    pub private_users: Option<String>,
}

/// An app of a prepared pod.
#[derive(Debug)]
pub struct PreparedApp {
    /// Its name.
    pub name: String,
    /// Its image's manifest, byte for byte.
    pub manifest_json: Vec<u8>,
    /// Its tree, if the pod's trees are overlays.
    pub tree: Option<TreeId>,
}

impl PreparedPod {
    /// Reads a pod. Errors: a file is missing or is not what it should be.
    pub fn read(pod: &FoundPod) -> Result<Self> {
        const MANIFEST: u64 = appc::MAX_MANIFEST_BYTES as u64 + 1;
        let manifest_json = pod.read("pod", MANIFEST).context("cannot get the pod manifest")?;
        let manifest = PodManifest::from_json(&manifest_json).context("cannot get the pod manifest")?;
        let stage1 = pod.stage1_manifest().context("cannot get the stage1 manifest")?;
        let uses_overlay = pod.uses_overlay();
        let mut apps = Vec::with_capacity(manifest.apps.len());
        for app in &manifest.apps {
            let name = app.name.to_string();
            let info = Path::new("appsinfo").join(&name);
            let what = || format!("cannot get the image of app {name:?}");
            let manifest_json = pod.read(info.join("manifest"), MANIFEST).context(what())?;
            let tree =
                uses_overlay.then(|| tree(pod, &info.join("treeStoreID")).context(what())).transpose()?;
            apps.push(PreparedApp { name, manifest_json, tree });
        }
        Ok(PreparedPod {
            manifest_json,
            stage1,
            apps,
            overlay: uses_overlay.then(|| tree(pod, Path::new("stage1TreeStoreID"))).transpose()?,
            private_users: private_users(pod)?,
            manifest,
        })
    }

    /// The sources of the pod's volumes must be there.
    pub fn check_volumes(&self) -> Result<()> {
        let own = self
            .manifest
            .apps
            .iter()
            .flat_map(|app| &app.mounts)
            .filter_map(|mount| mount.app_volume.as_ref());
        for volume in self.manifest.volumes.iter().chain(own) {
            if let Some(source) = &volume.source {
                let path = Path::new(source);
                path.metadata().file("find", path).context(format!("volume {:?}", volume.name.as_str()))?;
            }
        }
        Ok(())
    }

    /// Every tree must still be rendered: images are collected independently of a pod that was prepared long ago.
    pub fn check_trees(&self, store: &TreeStore) -> Result<()> {
        let apps =
            self.apps.iter().filter_map(|app| Some((format!("app {:?}", app.name), app.tree.as_ref()?)));
        let stage1 = self.overlay.as_ref().map(|tree| ("stage1".to_owned(), tree));
        for (whose, tree) in stage1.into_iter().chain(apps) {
            if !store.is_rendered(tree) {
                return Err(Stage0Error::refused(format!(
                    "the rendered image of {whose} is gone from the store ({tree}): prepare the pod anew"
                )));
            }
        }
        Ok(())
    }
}

fn tree(pod: &FoundPod, path: &Path) -> Result<TreeId> {
    text(pod, path)?.trim().parse().context(format!("invalid {path:?} in pod {}", pod.uuid()))
}

fn private_users(pod: &FoundPod) -> Result<Option<String>> {
    let path = Path::new("private-users-prepared");
    if !pod.has(path) {
        return Ok(None);
    }
    Ok(Some(text(pod, path)?.trim().to_owned()))
}

fn text(pod: &FoundPod, path: &Path) -> Result<String> {
    String::from_utf8(pod.read(path, MAX_VALUE_BYTES)?).context(format!("{path:?} is not text"))
}

//! A new pod on disk, once its manifest and its images are known.
//!
//! Responsible for: what every way of making a pod has in common: its trees are rendered and kept until the pod's directory names
//! them. Must not know: flags; where a manifest came from. Follows rkt-reference.md 1.6 (`run`, steps 5 to 9) and 2.6.

use std::path::Path;

use appc::AcName;

use crate::error::{Context, Result};
use crate::log::Log;
use crate::pod::lifecycle::{Pod, Prepare};
use crate::pod::locate::Pods;
use crate::pod::overlay;
use crate::pod::prepare::{PodContent, PodImage};
use crate::pod::user_range::UserRange;
use crate::store::{ImageStore, Key, KeyLock, LockKind, TreeStore};

/// What a pod is made of.
pub struct NewPod<'a> {
    /// The pod manifest, byte for byte.
    pub manifest: &'a [u8],
    /// stage1's image.
    pub stage1: Key,
    /// The apps in the manifest's order, and their images.
    pub apps: Vec<(AcName, Key)>,
    /// Whether trees will be overlays.
    pub overlay: bool,
    /// The host's IDs that the pod's files will belong to, if it gets IDs of its own.
    pub users: Option<UserRange>,
}

impl NewPod<'_> {
    /// Makes it. `created` is told its UUID before it is filled, so that it can be cleaned up whatever happens then.
    pub fn make(
        self,
        data: &Path,
        images: &ImageStore,
        trees: &TreeStore,
        created: impl FnOnce(&str) -> Result<()>,
    ) -> Result<Pod<Prepare>> {
        let pod = Pod::create(&Pods::of(data))?;
        created(&pod.uuid().to_string())?;
        let _lock = prepare_lock(data)?;
        let stage1 = pod_image(images, trees, &self.stage1)?;
        let mut apps: Vec<(AcName, PodImage)> = Vec::with_capacity(self.apps.len());
        for (name, key) in self.apps {
            apps.push((name, pod_image(images, trees, &key)?));
        }
        let content = PodContent {
            manifest: self.manifest,
            stage1: &stage1,
            apps: &apps,
            overlay: self.overlay,
            users: self.users,
        };
        content.write(&pod, trees).context("error setting up stage0")?;
        Ok(pod)
    }
}

/// To be held until the pod's directory says which trees it uses: `image gc` removes the others.
pub fn prepare_lock(data: &Path) -> Result<KeyLock> {
    KeyLock::acquire(&data.join("locks"), "prepareLock", LockKind::Shared)
        .context("cannot get shared prepare lock")
}

/// Renders an image, unless it is already.
pub fn pod_image(images: &ImageStore, trees: &TreeStore, key: &Key) -> Result<PodImage> {
    let manifest = images.manifest_json(key).context(format!("error reading the manifest of image {key}"))?;
    let tree = trees.render(images, key).context(format!("error rendering image {key}"))?;
    Ok(PodImage { manifest, tree })
}

/// Whether the pod's trees will be overlays. The user is told when that was wanted and cannot be.
pub fn overlay_choice(no_overlay: bool, data: &Path, log: Log) -> Result<bool> {
    if no_overlay {
        return Ok(false);
    }
    match overlay::unsupported(data)? {
        None => Ok(true),
        Some(reason) => {
            log.print(format!("disabling overlay support: {reason:?}"));
            Ok(false)
        }
    }
}

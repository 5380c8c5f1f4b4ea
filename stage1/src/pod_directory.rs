//! Where things are in the pod directory, which is the working directory of every entrypoint.
//!
//! Responsible for: paths and reading the manifests. Must not know: what is done with them. Follows rkt-reference 2.2 and
//! 4.3.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use appc::{AcName, AppcError, ImageManifest, MAX_MANIFEST_BYTES, PodManifest};

/// Root of the stage1 image.
const STAGE1_ROOT: &str = "stage1/rootfs";

/// Why the pod directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PodDirectoryError {
    /// A file is missing or unreadable.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: AppcError,
    },
}

/// A path in the stage1 image.
pub fn stage1(path: &str) -> PathBuf {
    Path::new(STAGE1_ROOT).join(path)
}

/// Root file system of an app.
pub fn app_rootfs(app: &str) -> PathBuf {
    stage1("opt/stage2").join(app).join("rootfs")
}

/// Whether the pod's trees are overlays.
pub fn has_overlays() -> bool {
    Path::new("overlay-prepared").exists()
}

/// Where stage0 has made what an app's overlay takes besides its tree: `upper/APP` and `work/APP`. `None`: the pod has copies.
pub fn app_changes(app: &str) -> io::Result<Option<PathBuf>> {
    if !has_overlays() {
        return Ok(None);
    }
    let tree = fs::read_to_string(Path::new("appsinfo").join(app).join("treeStoreID"))?;
    Ok(Some(Path::new("overlay").join(tree.trim())))
}

/// Directory of an empty volume.
pub fn shared_volume(directory: &str) -> PathBuf {
    Path::new("sharedVolumes").join(directory)
}

/// Reads a whole file of at most the size of a manifest.
pub fn read(path: &Path) -> Result<Vec<u8>, PodDirectoryError> {
    let failed = |cause| PodDirectoryError::Read { path: path.to_owned(), cause };
    let limit = u64::try_from(MAX_MANIFEST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

/// The pod manifest.
pub fn pod_manifest() -> Result<PodManifest, PodDirectoryError> {
    let path = Path::new("pod");
    PodManifest::from_json(&read(path)?)
        .map_err(|cause| PodDirectoryError::Malformed { path: path.to_owned(), cause })
}

/// The image manifest of every app.
pub fn image_manifests(pod: &PodManifest) -> Result<BTreeMap<AcName, ImageManifest>, PodDirectoryError> {
    let mut manifests = BTreeMap::new();
    for app in &pod.apps {
        let path = Path::new("appsinfo").join(app.name.as_str()).join("manifest");
        let manifest = ImageManifest::from_json(&read(&path)?)
            .map_err(|cause| PodDirectoryError::Malformed { path, cause })?;
        manifests.insert(app.name.clone(), manifest);
    }
    Ok(manifests)
}

//! Changing the manifest of a mutable pod while it runs.
//!
//! Responsible for: who may, one at a time, and the change in one step. Must not know: what becomes of apps. Follows
//! rkt-reference.md 2.4 (`pod.lck`) and 7.4.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use appc::PodManifest;
use rustix::fs::{Mode, OFlags};

use super::locate::FoundPod;
use super::lock;
use super::manifest::is_mutable;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;

/// The manifest that will take the old one's place. Only the holder of the lock has one.
const NEW_MANIFEST: &str = "pod.new";

/// A mutable pod that nobody else changes.
#[derive(Debug)]
pub struct Sandbox<'a> {
    pod: &'a FoundPod,
    manifest: PodManifest,
    _lock: OwnedFd,
}

/// The manifest of a mutable pod. Errors: the pod is immutable.
pub fn manifest(pod: &FoundPod) -> Result<PodManifest> {
    let manifest = pod.manifest().context("error loading pod manifest")?;
    match is_mutable(&manifest)? {
        true => Ok(manifest),
        false => Err(Stage0Error::refused("immutable pod")),
    }
}

impl<'a> Sandbox<'a> {
    /// Waits until nobody else changes the pod.
    pub fn lock(pod: &'a FoundPod) -> Result<Self> {
        let path = pod.path().join("pod.lck");
        // Programs of stage1 that are started under the lock inherit it: one that outlives a killed rkt is still at work.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let lock = rustix::fs::openat(pod.directory(), "pod.lck", flags, Mode::empty())
            .file("open", &path)
            .context("failed to lock pod manifest")?;
        lock::lock_exclusive(&lock).file("lock", &path).context("failed to lock pod manifest")?;
        Ok(Sandbox { pod, manifest: manifest(pod)?, _lock: lock })
    }

    /// The pod.
    pub fn pod(&self) -> &'a FoundPod {
        self.pod
    }

    /// Its manifest.
    pub fn manifest(&self) -> &PodManifest {
        &self.manifest
    }

    /// Changes the manifest. Errors: it would be larger than anybody reads; it cannot be written. The old one is left then.
    pub fn change(&mut self, change: impl FnOnce(&mut PodManifest)) -> Result<()> {
        let mut manifest = self.manifest.clone();
        change(&mut manifest);
        manifest.validate().context("error updating pod manifest")?;
        let json = serde_json::to_vec(&manifest).context("error marshalling pod manifest")?;
        if json.len() > appc::MAX_MANIFEST_BYTES {
            return Err(Stage0Error::refused(format!(
                "the pod manifest would have {} bytes, more than {}: too many apps",
                json.len(),
                appc::MAX_MANIFEST_BYTES
            )));
        }
        self.replace(&json).context("error updating pod manifest")?;
        self.manifest = manifest;
        Ok(())
    }

    fn replace(&self, json: &[u8]) -> Result<()> {
        let (old, new) = (self.pod.path().join("pod"), self.pod.path().join(NEW_MANIFEST));
        let directory = self.pod.directory();
        let metadata = std::fs::symlink_metadata(&old).file("inspect", &old)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, NEW_MANIFEST, flags, Mode::from_raw_mode(0o600))
            .file("create", &new)?;
        let mut file = std::fs::File::from(file);
        let done = file
            .write_all(json)
            .and_then(|()| std::os::unix::fs::fchown(&file, None, Some(metadata.gid())))
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(metadata.mode() & 0o7777))?));
        if let Err(error) = done {
            // What is left is overwritten by the next change, and goes with the pod.
            let _ = rustix::fs::unlinkat(directory, NEW_MANIFEST, rustix::fs::AtFlags::empty());
            return Err(error).file("write", &new);
        }
        fault::point("app.manifest.written");
        rustix::fs::renameat(directory, NEW_MANIFEST, directory, "pod").file("move", &new)?;
        fault::point("app.manifest.moved");
        Ok(())
    }
}

/// Whether exit codes and markers of two apps would have the same names: `a-created` says of `a` that it was created, and
/// holds the exit code of an app called so.
pub fn names_collide(one: &str, other: &str) -> bool {
    let suffixed = |short: &str, long: &str| {
        long.strip_prefix(short).is_some_and(|rest| matches!(rest, "-created" | "-started"))
    };
    suffixed(one, other) || suffixed(other, one)
}

/// Where an app's image is described, below the pod's directory.
pub fn info_directory(app: &str) -> std::path::PathBuf {
    Path::new("appsinfo").join(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_must_not_be_called_like_a_marker_of_another() {
        assert!(names_collide("a", "a-created") && names_collide("a-started", "a"));
        assert!(!names_collide("a", "a-b") && !names_collide("a", "a") && !names_collide("a", "b-created"));
    }
}

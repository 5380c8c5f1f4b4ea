//! Deleting pods: stage1's own cleaning, mounts, files, in this order.
//!
//! Responsible for: leaving nothing of a pod behind, in any order of crashes. Must not know: when a pod is due.
//! Follows rkt-reference.md 2.7, `deletePod`.

use std::io::ErrorKind;
use std::path::Path;

use super::assemble::{mount_stage1, stage1_root};
use super::lifecycle::mark;
use super::locate::{FoundPod, Pods};
use super::lock;
use super::metadata_service;
use super::mounts::{MountTable, Unmounter};
use super::remove::remove_path;
use super::state::Stage;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;
use crate::log::Log;
use crate::stage1::call::{Cleaning, gc_arguments, run_gc};
use crate::stage1::{Entrypoint, Stage1Manifest};
use crate::store::TreeStore;

/// Times the mounts of a pod are looked for anew when one turns up while its files are removed.
const MAX_UNMOUNT_ATTEMPTS: usize = 3;

/// In the pod's directory as long as there may be control groups of the pod's, which only stage1 can remove, by what the file says.
const CONTROL_GROUPS: &str = "cgroups";

/// Deletes pods below one data directory.
pub struct Collector<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Handed to stage1's gc.
    pub local_config: &'a Path,
    /// Where trouble is reported.
    pub log: Log,
    /// Unmounts what the pods left mounted.
    pub unmounter: Unmounter,
}

impl Collector<'_> {
    /// Deletes a pod found in (exited-)garbage; waits for others that do the same. `mounts` is a table read after the pod
    /// exited; it saves reading one for each pod.
    pub fn delete(&mut self, pod: &FoundPod, mounts: &MountTable) -> Result<()> {
        let path = pod.path();
        lock::lock_exclusive(pod.directory()).file("lock", path)?;
        fault::point("delete.locked");
        if !path.exists() {
            // Somebody else held the lock until it was gone.
            return Ok(());
        }
        if pod.stage() == Stage::ExitedGarbage
            && let Err(error) = metadata_service::unregister(path, &pod.uuid().to_string())
        {
            self.log.error(&error);
        }
        if pod.stage() == Stage::ExitedGarbage {
            match self.call_stage1(pod, mounts) {
                Ok(Cleaning::Done) => {}
                // What it had yet to do can only be done with what is in the pod.
                Ok(Cleaning::CutShort(how)) => {
                    return Err(Stage0Error::refused(format!("stage1 gc was cut short: {how}")));
                }
                Err(error) => {
                    self.log.named("stage1 gc").error(&error);
                    if path.join(CONTROL_GROUPS).exists() {
                        let reason =
                            "processes of the pod have not ended yet; collect it again when they have";
                        return Err(Stage0Error::refused(reason));
                    }
                }
            }
        }
        // The manifest and everything else that says what the pod was go last: a failed attempt can be repeated.
        self.remove(&stage1_root(path), path, mounts)?;
        fault::point("delete.stage1.removed");
        // Half of a pod that ran is nothing that `list` or `image gc` could read.
        mark(&Pods::of(self.data), pod, Stage::Garbage)?;
        let rest = Pods::of(self.data).path(Stage::Garbage, pod.uuid());
        self.remove(&rest, &rest, mounts)
    }

    fn call_stage1(&mut self, pod: &FoundPod, mounts: &MountTable) -> Result<Cleaning> {
        let path = pod.path();
        if path.join("stage1/manifest").symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            // It is removed after stage1 has cleaned up: an earlier deletion was cut short behind that.
            return Ok(Cleaning::Done);
        }
        let manifest = pod.stage1_manifest()?;
        let manifest = Stage1Manifest(&manifest);
        let entrypoint = manifest.entrypoint(Entrypoint::Gc)?;
        let interface = manifest.interface_version()?;
        let root = stage1_root(path);
        // After a reboot nothing is mounted; stage1's gc lives in the mount.
        let remounted = pod.uses_overlay() && !mounts.contains(&root);
        if remounted {
            let trees = TreeStore::open(self.data).context("cannot open treestore")?;
            let tree = pod.stage1_tree()?.parse().context("invalid stage1 tree store ID")?;
            mount_stage1(path, &trees, &tree)?;
            fault::point("delete.stage1.mounted");
        }
        let arguments =
            gc_arguments(self.log.is_debug(), self.local_config, interface, &pod.uuid().to_string());
        let result = run_gc(path, entrypoint, &arguments);
        fault::point("delete.stage1.cleaned");
        if remounted {
            self.unmounter.unmount(&root)?;
        }
        result
    }

    /// Removes a part of the pod after unmounting what is in it.
    fn remove(&mut self, part: &Path, pod: &Path, mounts: &MountTable) -> Result<()> {
        self.unmounter.unmount_below(mounts, pod)?;
        fault::point("delete.unmounted");
        for _ in 0..MAX_UNMOUNT_ATTEMPTS {
            match remove_path(part) {
                Err(rustix::io::Errno::BUSY | rustix::io::Errno::XDEV) => {
                    self.unmounter.unmount_below(&MountTable::read()?, pod)?;
                }
                result => return result.file("remove", part),
            }
        }
        remove_path(part).file("remove", part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::lifecycle::Pod;

    #[test]
    fn a_deletion_that_was_cut_short_goes_on_without_stage1() {
        let data = tempfile::tempdir().unwrap();
        let pods = Pods::of(data.path());
        let uuid = Pod::create(&pods).unwrap().into_run().unwrap().uuid();
        mark(&pods, &pods.open(uuid, Stage::Run).unwrap().unwrap(), Stage::ExitedGarbage).unwrap();
        let pod = pods.open(uuid, Stage::ExitedGarbage).unwrap().unwrap();
        let mut collector = Collector {
            data: data.path(),
            local_config: data.path(),
            log: Log::new("gc", false),
            unmounter: Unmounter::default(),
        };

        let cut_short = collector.call_stage1(&pod, &MountTable::default());
        std::fs::create_dir(pod.path().join("stage1")).unwrap();
        std::fs::write(pod.path().join("stage1/manifest"), "").unwrap();
        let damaged = collector.call_stage1(&pod, &MountTable::default());

        assert!(cut_short.is_ok());
        assert!(damaged.is_err());
        collector.delete(&pod, &MountTable::default()).unwrap();
        assert!(!pod.path().exists());
    }
}

//! What of the stores pods count on.
//!
//! Responsible for: reading it from the pods' directories. Must not know: what is done with the rest. Follows
//! rkt-reference.md 2.2 (`stage1TreeStoreID`, `appsinfo/APP/treeStoreID`), 2.4 and 2.7.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::error::{Context, Result, Stage0Error};
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::state::{Stage, State};
use crate::store::{ImageStore, Key, KeyLock, LockKind, TreeId};

/// The stages whose pods need their trees. An embryo has none yet, and garbage is never run again.
const STAGES: [Stage; 4] = [Stage::Prepare, Stage::Prepared, Stage::Run, Stage::ExitedGarbage];

/// Longest tree store ID with a newline; more is no ID.
const MAX_ID_BYTES: u64 = 128;

/// The pods of a data directory, while none is being prepared.
#[derive(Debug)]
pub(super) struct SettledPods {
    pods: Pods,
    _prepare_lock: KeyLock,
}

impl SettledPods {
    /// Waits until no pod is being prepared, and keeps new ones from being so: a pod under preparation has rendered trees
    /// that its directory does not name yet.
    pub fn of(data: &Path) -> Result<Self> {
        let lock = KeyLock::acquire(&data.join("locks"), "prepareLock", LockKind::Exclusive)
            .context("cannot get exclusive prepare lock")?;
        Ok(SettledPods { pods: Pods::of(data), _prepare_lock: lock })
    }

    /// The trees that pods were made from. A pod that cannot be read is an error: it may need any of them.
    pub fn trees(&self) -> Result<HashSet<TreeId>> {
        let mut trees = HashSet::new();
        each(&self.pods, |pod| {
            trees.extend(trees_of(pod).context(format!("cannot get treestoreIDs of pod {}", pod.uuid()))?);
            Ok(())
        })?;
        Ok(trees)
    }

    /// The running pods by the trees that their file systems lie on.
    pub fn running(&self) -> Result<HashMap<TreeId, Uuid>> {
        let mut running = HashMap::new();
        each(&self.pods, |pod| {
            if pod.state() == State::Running {
                let trees =
                    trees_of(pod).context(format!("cannot get treestoreIDs of pod {}", pod.uuid()))?;
                running.extend(trees.into_iter().map(|tree| (tree, pod.uuid())));
            }
            Ok(())
        })?;
        Ok(running)
    }
}

/// The images that apps of running pods were made from.
pub(super) fn running_images(data: &Path, store: &ImageStore) -> Result<HashSet<Key>> {
    let mut images = HashSet::new();
    each(&Pods::of(data), |pod| {
        if pod.state() == State::Running {
            let manifest = pod.manifest().context(format!("error reading pod {}", pod.uuid()))?;
            // An image that is not there any more cannot be removed.
            images
                .extend(manifest.apps.iter().filter_map(|app| store.resolve_key(app.image.id.as_str()).ok()));
        }
        Ok(())
    })?;
    Ok(images)
}

fn each(pods: &Pods, mut act: impl FnMut(&FoundPod) -> Result<()>) -> Result<()> {
    for (uuid, stage) in pods.list(&STAGES).context("failed to get pod handles")? {
        if let Some(pod) = pods.open(uuid, stage)? {
            act(&pod)?;
        }
    }
    Ok(())
}

/// Read below the open directory: the pod may be moved to another stage meanwhile.
fn trees_of(pod: &FoundPod) -> Result<Vec<TreeId>> {
    let mut files = vec![PathBuf::from("stage1TreeStoreID")];
    for app in pod.names_in("appsinfo")? {
        files.push(Path::new("appsinfo").join(app).join("treeStoreID"));
    }
    let mut trees = Vec::with_capacity(files.len());
    for file in files {
        match pod.read(&file, MAX_ID_BYTES) {
            // Pods without overlays have copies, and one whose preparation was cut short may have nothing.
            Err(Stage0Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(text) => {
                let tree = String::from_utf8_lossy(&text).trim().parse();
                trees.push(tree.context(format!("invalid {}", file.display()))?);
            }
        }
    }
    Ok(trees)
}

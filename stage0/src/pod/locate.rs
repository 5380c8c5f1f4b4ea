//! Finding pods: all of them, or the one a user means.
//!
//! Responsible for: walking the pod directories, UUID prefixes, probing a pod's state. Must not know: what a pod
//! contains. Follows rkt-reference.md 2.3.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use uuid::Uuid;

use super::lock;
use super::state::{Stage, State};
use crate::error::{Context, FileContext, Result, Stage0Error};

/// The stages whose pods a user can name.
const NAMEABLE: [Stage; 4] = [Stage::Prepare, Stage::Prepared, Stage::Run, Stage::ExitedGarbage];

/// `DATA/pods`.
#[derive(Debug, Clone)]
pub struct Pods {
    root: PathBuf,
}

/// A pod as it was when it was looked at. Files are read relative to the open directory, which stays the
/// pod's wherever it is moved meanwhile.
#[derive(Debug)]
pub struct FoundPod {
    uuid: Uuid,
    stage: Stage,
    locked: bool,
    directory: OwnedFd,
    path: PathBuf,
}

impl Pods {
    /// The pods below the data directory.
    pub fn of(data: &Path) -> Self {
        Pods { root: data.join("pods") }
    }

    /// The directory of one stage.
    pub fn stage(&self, stage: Stage) -> PathBuf {
        self.root.join(stage.directory())
    }

    /// Where a pod is while it is in `stage`.
    pub fn path(&self, stage: Stage, uuid: Uuid) -> PathBuf {
        self.stage(stage).join(uuid.to_string())
    }

    /// Creates the directories of all stages.
    pub fn create_stages(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o750);
        for stage in Stage::ALL {
            let path = self.stage(stage);
            builder.create(&path).file("create", &path)?;
        }
        Ok(())
    }

    /// The pods in these stages by UUID, each with the last stage it was seen in. `stages` must be in the order
    /// of [`Stage::ALL`].
    pub fn list(&self, stages: &[Stage]) -> Result<BTreeMap<Uuid, Stage>> {
        let mut pods = BTreeMap::new();
        for stage in stages {
            let path = self.stage(*stage);
            let entries = match std::fs::read_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.file("read", &path)?,
            };
            for entry in entries {
                let name = entry.file("read", &path)?.file_name();
                if let Some(uuid) = name.to_str().and_then(parse_directory_name) {
                    pods.insert(uuid, *stage);
                }
            }
        }
        Ok(pods)
    }

    /// All pods a user can name.
    pub fn list_nameable(&self) -> Result<BTreeMap<Uuid, Stage>> {
        self.list(&NAMEABLE)
    }

    /// The one pod whose UUID begins with `prefix`.
    pub fn resolve(&self, prefix: &str) -> Result<FoundPod> {
        self.find_prefix(prefix).context("problem retrieving pod")
    }

    /// The same, for callers that say themselves what they wanted it for.
    pub fn find_prefix(&self, prefix: &str) -> Result<FoundPod> {
        let wanted = prefix.to_lowercase();
        let no_match = || no_matches(prefix);
        if wanted.is_empty() {
            return Err(no_match());
        }
        let pods = self.list_nameable()?;
        let mut matches = pods.into_iter().filter(|(uuid, _)| uuid.to_string().starts_with(&wanted));
        let Some((uuid, stage)) = matches.next() else { return Err(no_match()) };
        match matches.count() {
            0 => self.open(uuid, stage)?.ok_or_else(no_match),
            others => Err(Stage0Error::refused(format!("ambiguous uuid, {} matches", others + 1))),
        }
    }

    /// Whether a pod has gone since it was looked at, or is going: then it is no fault that it cannot be read.
    pub fn is_leaving(&self, pod: &FoundPod) -> bool {
        match pod.again(self) {
            Ok(Some(pod)) => pod.stage() == Stage::Garbage,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Opens a pod last seen in `from`; `None` when it is gone by now.
    pub fn open(&self, uuid: Uuid, from: Stage) -> Result<Option<FoundPod>> {
        let stages = Stage::ALL.into_iter().skip_while(|stage| *stage != from);
        for stage in stages {
            let path = self.path(stage, uuid);
            let directory = match lock::open_directory(&path) {
                Err(Errno::NOENT) => continue,
                opened => opened.file("open", &path)?,
            };
            let locked = lock::is_locked_exclusively(&directory).file("lock", &path)?;
            // Moved before the lock was looked at: whether it is held says nothing about this stage.
            if !is_at(&directory, &path).file("inspect", &path)? {
                continue;
            }
            return Ok(Some(FoundPod { uuid, stage, locked, directory, path }));
        }
        Ok(None)
    }
}

impl FoundPod {
    /// The pod's UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The directory it was found in.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Its state when it was looked at.
    pub fn state(&self) -> State {
        self.stage.state(self.locked)
    }

    /// Its directory, opened.
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Errors: it did not run when it was looked at.
    pub fn expect_running(&self) -> Result<()> {
        match self.state() {
            State::Running => Ok(()),
            _ => {
                Err(Stage0Error::refused(format!("pod {:?} isn't currently running", self.uuid.to_string())))
            }
        }
    }

    /// The same pod as it is now; `None` when it is gone.
    pub fn again(&self, pods: &Pods) -> Result<Option<FoundPod>> {
        pods.open(self.uuid, self.stage)
    }
}

/// There is no pod that a user could mean.
pub fn no_matches(prefix: &str) -> Stage0Error {
    Stage0Error::refused(format!("no matches found for {prefix:?}"))
}

/// Whether an opened directory is still where it was found.
fn is_at(directory: &OwnedFd, path: &Path) -> rustix::io::Result<bool> {
    let opened = rustix::fs::fstat(directory)?;
    match rustix::fs::stat(path) {
        Err(Errno::NOENT) => Ok(false),
        found => found.map(|found| (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)),
    }
}

/// Pod directories carry the canonical form of a UUID and nothing else does.
fn parse_directory_name(name: &str) -> Option<Uuid> {
    Uuid::try_parse(name).ok().filter(|uuid| uuid.to_string() == name)
}

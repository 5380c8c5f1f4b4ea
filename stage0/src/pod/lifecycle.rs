//! A pod's way from embryo to run, and to garbage.
//!
//! Responsible for: the renames between the stages and the lock held meanwhile; a transition consumes the pod
//! and returns it in its next state. Must not know: what is in the pod. Follows rkt-reference.md 2.3, "Transitions".
//!
//! The parent directories are not synced between `embryo` and `run`. A pod in any of these stages dies with the host, and what a
//! power failure leaves of it, in whichever of them, is collected by `gc`; two journal commits a start would buy nothing.
//! A prepared pod outlives the host's power, so it is synced when it becomes one, and again when it stops being one:
//! it must not run twice.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self, Mode};
use rustix::io::Errno;
use uuid::Uuid;

use super::locate::{FoundPod, Pods};
use super::lock;
use super::state::Stage;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;

/// Times a new pod may be collected between its `mkdir` and its lock before that is taken for a fault.
const MAX_CREATE_ATTEMPTS: usize = 8;

/// How often a lock that others hold for moments is tried again.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A state that a pod can be in while this process holds its lock.
pub trait Held {
    /// Where the pod is then.
    const STAGE: Stage;
}

/// Being prepared.
#[derive(Debug)]
pub struct Prepare;
/// Ready to run.
#[derive(Debug)]
pub struct Prepared;
/// Running, or about to.
#[derive(Debug)]
pub struct Run;

impl Held for Prepare {
    const STAGE: Stage = Stage::Prepare;
}
impl Held for Prepared {
    const STAGE: Stage = Stage::Prepared;
}
impl Held for Run {
    const STAGE: Stage = Stage::Run;
}

/// A pod whose lock this process holds.
#[derive(Debug)]
pub struct Pod<S> {
    pods: Pods,
    uuid: Uuid,
    lock: OwnedFd,
    state: PhantomData<S>,
}

/// A pod that was made and is not locked yet.
struct Embryo {
    uuid: Uuid,
    directory: OwnedFd,
    path: PathBuf,
}

impl<S: Held> Pod<S> {
    /// The pod's UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The pod's directory.
    pub fn path(&self) -> PathBuf {
        self.pods.path(S::STAGE, self.uuid)
    }

    /// The pod opened for reading; what was opened stays the pod wherever it is moved afterwards.
    pub fn open(&self) -> Result<FoundPod> {
        self.pods.open(self.uuid, S::STAGE)?.ok_or_else(|| self.removed())
    }

    fn removed(&self) -> Stage0Error {
        Stage0Error::refused(format!("{} was removed", self.path().display()))
    }

    fn into<T: Held>(self) -> Result<Pod<T>> {
        let (from, to) = (self.path(), self.pods.path(T::STAGE, self.uuid));
        if !rename(&self.pods, &from, &to)? {
            return Err(self.removed());
        }
        Ok(Pod { pods: self.pods, uuid: self.uuid, lock: self.lock, state: PhantomData })
    }
}

impl Pod<Prepare> {
    /// Makes a new pod and locks it.
    pub fn create(pods: &Pods) -> Result<Self> {
        for _ in 0..MAX_CREATE_ATTEMPTS {
            let Some(embryo) = Embryo::create(pods)? else { continue };
            if let Some(pod) = embryo.hatch(pods)? {
                return Ok(pod);
            }
        }
        Err(Stage0Error::refused("error creating pod: it is collected again and again while it is made"))
    }

    /// The pod is prepared and will be run at once; the lock stays held.
    pub fn into_run(self) -> Result<Pod<Run>> {
        self.into().context("error transitioning pod to run")
    }

    /// Everything of the pod is on the disk, then it is prepared; dropping it unlocks it.
    pub fn into_prepared(self) -> Result<Pod<Prepared>> {
        fs::syncfs(&self.lock).file("sync", &self.path()).context("error syncing pod data")?;
        fault::point("pod.synced");
        let pod: Pod<Prepared> = self.into().context("error transitioning pod to prepared")?;
        sync_directory(&pod.pods.stage(Stage::Prepared))?;
        sync_directory(&pod.pods.stage(Stage::Prepare))?;
        Ok(pod)
    }
}

impl Pod<Prepared> {
    /// Locks a prepared pod; `None` if it is none any more. The lock is held by others for moments only: by the `prepare`
    /// that is about to unlock it, by readers that probe it, by a `run-prepared` that will move the pod or fail. Waiting for the
    /// lock as such would wait for the end of the pod that somebody else runs.
    pub fn lock(pods: &Pods, pod: &FoundPod) -> Result<Option<Self>> {
        let path = pods.path(Stage::Prepared, pod.uuid());
        let directory = match lock::open_directory(&path) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.file("open", &path)?,
        };
        while !lock::try_lock_exclusive(&directory).file("lock", &path)? {
            if !path.exists() {
                return Ok(None);
            }
            std::thread::sleep(LOCK_POLL);
        }
        // It may have been moved before the lock was ours.
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Pod { pods: pods.clone(), uuid: pod.uuid(), lock: directory, state: PhantomData }))
    }

    /// The pod will be run by whoever keeps the lock.
    pub fn into_run(self) -> Result<Pod<Run>> {
        let pod: Pod<Run> = self.into().context("error transitioning pod to run")?;
        sync_directory(&pod.pods.stage(Stage::Run))?;
        sync_directory(&pod.pods.stage(Stage::Prepared))?;
        Ok(pod)
    }
}

impl Pod<Run> {
    /// The lock that stage1 must keep for the pod's life.
    pub fn into_lock(self) -> OwnedFd {
        self.lock
    }
}

/// `None` everywhere below: gc took the embryo for an abandoned one, as it was not locked yet.
impl Embryo {
    fn create(pods: &Pods) -> Result<Option<Self>> {
        let uuid = new_uuid()?;
        let path = pods.path(Stage::Embryo, uuid);
        let mode = Mode::from_raw_mode(0o750);
        match fs::mkdir(&path, mode) {
            Err(Errno::NOENT) => {
                pods.create_stages()?;
                fs::mkdir(&path, mode).file("create", &path)?;
            }
            made => made.file("create", &path)?,
        }
        fault::point("pod.create.made");
        match lock::open_directory(&path) {
            Err(Errno::NOENT) => Ok(None),
            opened => Ok(Some(Embryo { uuid, directory: opened.file("open", &path)?, path })),
        }
    }

    fn hatch(self, pods: &Pods) -> Result<Option<Pod<Prepare>>> {
        lock::lock_exclusive(&self.directory).file("lock", &self.path)?;
        fault::point("pod.create.locked");
        if !rename(pods, &self.path, &pods.path(Stage::Prepare, self.uuid))? {
            return Ok(None);
        }
        Ok(Some(Pod { pods: pods.clone(), uuid: self.uuid, lock: self.directory, state: PhantomData }))
    }
}

/// A random UUID. Its bytes come from the kernel: the library would look for them in `/dev`.
fn new_uuid() -> Result<Uuid> {
    let mut bytes = [0; 16];
    // The kernel fills up to 256 bytes in one call.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("cannot make a random UUID")?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// Marks a pod for collection: it keeps its name and goes to `to`. Another process doing the same at the
/// same time is no error; false then.
pub fn mark(pods: &Pods, pod: &FoundPod, to: Stage) -> Result<bool> {
    rename(pods, pod.path(), &pods.path(to, pod.uuid()))
}

/// Moves a pod's directory to another stage, whose directory is made if it is missing; false if the pod is not there.
fn rename(pods: &Pods, from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Err(Errno::NOENT) if !from.exists() => return Ok(false),
        Err(Errno::NOENT) => {
            pods.create_stages()?;
            fs::rename(from, to).file("move", from)?;
        }
        moved => moved.file("move", from)?,
    }
    fault::point("pod.moved");
    Ok(true)
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = lock::open_directory(path).file("open", path)?;
    fs::fsync(directory).file("sync", path)
}

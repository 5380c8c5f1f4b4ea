//! A pod's way from embryo to run, and to garbage.
//!
//! Responsible for: the renames between the stages and the lock held meanwhile; a transition consumes the pod
//! and returns it in its next state. Must not know: what is in the pod. Follows rkt-reference.md 2.3, "Transitions".
//!
//! The parent directories are not synced between `embryo` and `run`. A pod in any of these stages dies with the host, and what a
//! power failure leaves of it, in whichever of them, is collected by `gc`; two journal commits a start would buy nothing.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{self, Mode};
use rustix::io::Errno;
use uuid::Uuid;

use super::locate::{FoundPod, Pods};
use super::lock;
use super::state::Stage;
use crate::error::{Context, FileContext, Result};

/// Times a new pod may be collected between its `mkdir` and its lock before that is taken for a fault.
const MAX_CREATE_ATTEMPTS: usize = 8;

/// A state that a pod can be in while this process holds its lock.
pub trait Held {
    /// Where the pod is then.
    const STAGE: Stage;
}

/// Being prepared.
#[derive(Debug)]
pub struct Prepare;
/// Running, or about to.
#[derive(Debug)]
pub struct Run;

impl Held for Prepare {
    const STAGE: Stage = Stage::Prepare;
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

    fn into<T: Held>(self) -> Result<Pod<T>> {
        let (from, to) = (self.path(), self.pods.path(T::STAGE, self.uuid));
        if let Err(error) = fs::rename(&from, &to) {
            if error != Errno::NOENT {
                return Err(error).file("move", &from);
            }
            self.pods.create_stages()?;
            fs::rename(&from, &to).file("move", &from)?;
        }
        Ok(Pod { pods: self.pods, uuid: self.uuid, lock: self.lock, state: PhantomData })
    }
}

impl Pod<Prepare> {
    /// Makes a new pod and locks it.
    pub fn create(pods: &Pods) -> Result<Self> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let embryo = Embryo::create(pods)?;
            match embryo.hatch(pods) {
                // gc took it for an abandoned one while it was not locked yet.
                Err(Errno::NOENT) if attempts < MAX_CREATE_ATTEMPTS => {}
                Err(error) => return Err(error).context("error creating pod"),
                Ok(pod) => return Ok(pod),
            }
        }
    }

    /// The pod is prepared and will be run at once; the lock stays held.
    pub fn into_run(self) -> Result<Pod<Run>> {
        self.into().context("error transitioning pod to run")
    }
}

impl Pod<Run> {
    /// The lock that stage1 must keep for the pod's life.
    pub fn into_lock(self) -> OwnedFd {
        self.lock
    }
}

impl Embryo {
    fn create(pods: &Pods) -> Result<Self> {
        let uuid = Uuid::new_v4();
        let path = pods.path(Stage::Embryo, uuid);
        let mode = Mode::from_raw_mode(0o750);
        match fs::mkdir(&path, mode) {
            Err(Errno::NOENT) => {
                pods.create_stages()?;
                fs::mkdir(&path, mode).file("create", &path)?;
            }
            made => made.file("create", &path)?,
        }
        let directory = lock::open_directory(&path).file("open", &path)?;
        Ok(Embryo { uuid, directory, path })
    }

    fn hatch(self, pods: &Pods) -> rustix::io::Result<Pod<Prepare>> {
        lock::lock_exclusive(&self.directory)?;
        fs::rename(&self.path, pods.path(Stage::Prepare, self.uuid))?;
        Ok(Pod { pods: pods.clone(), uuid: self.uuid, lock: self.directory, state: PhantomData })
    }
}

/// Marks a pod for collection: it keeps its name and goes to `to`. Another process doing the same at the
/// same time is no error; false then.
pub fn mark(pods: &Pods, pod: &FoundPod, to: Stage) -> Result<bool> {
    let target = pods.path(to, pod.uuid());
    match fs::rename(pod.path(), &target) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) if !pod.path().exists() => Ok(false),
        Err(Errno::NOENT) => {
            pods.create_stages()?;
            fs::rename(pod.path(), &target).file("move", pod.path())?;
            Ok(true)
        }
        Err(error) => Err(error).file("move", pod.path()),
    }
}

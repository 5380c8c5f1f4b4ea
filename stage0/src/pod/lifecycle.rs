//! A pod's way from embryo to run, and to garbage.
//!
//! Responsible for: the renames between the stages and the lock held meanwhile; a transition consumes the pod
//! and returns it in its next state. Must not know: what is in the pod. Follows rkt-reference.md 2.3, "Transitions".
//!
//! The parent directories are not synced between `embryo` and `run`. A pod in any of these stages dies with the host, and what a
//! power failure leaves of it, in whichever of them, is collected by `gc`; two journal commits a start would buy nothing.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
        if !rename(&self.pods, &from, &to)? {
            return Err(Stage0Error::refused(format!("{} was removed", from.display())));
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

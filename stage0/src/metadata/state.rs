//! What the service knows: the registered pods.
//!
//! Responsible for: finding a pod by its UUID for rkt and by its token for apps, and bounds. Must not know: HTTP. Follows
//! rkt-reference.md 6.10.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appc::{AcName, AppcError, ImageManifest, PodManifest};
use axum::body::Bytes;
use uuid::Uuid;

/// Bytes that all pods take together. A thousand pods of ten apps take less than 100 MiB.
pub const MAX_HELD_BYTES: usize = 512 * 1024 * 1024;
/// What a pod or an app takes besides its manifest; rounded up.
const OVERHEAD_BYTES: usize = 4096;
/// rkt's tokens have 32.
const MAX_TOKEN_BYTES: usize = 128;

/// Why something is not registered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no manifest.
    #[error("JSON-decoding failed: {0}")]
    Manifest(#[from] AppcError),
    /// There is none, or it would not be found in a URL.
    #[error("token missing or malformed")]
    Token,
    /// Another pod has it.
    #[error("the token belongs to another pod")]
    TokenTaken,
    /// The pod is not registered.
    #[error("pod not found")]
    UnknownPod,
    /// Nothing more can be remembered.
    #[error("the service's memory for manifests is full")]
    Full,
}

/// A registered pod.
#[derive(Debug)]
pub struct RegisteredPod {
    /// Its name.
    pub uuid: Uuid,
    /// Its manifest, as it was registered.
    pub json: Bytes,
    /// The same, understood.
    pub manifest: PodManifest,
    /// Its apps' image manifests.
    pub images: HashMap<String, RegisteredImage>,
    token: String,
}

/// An image manifest of a registered app.
#[derive(Debug)]
pub struct RegisteredImage {
    /// As it was registered.
    pub json: Bytes,
    /// The same, understood.
    pub manifest: ImageManifest,
}

impl RegisteredPod {
    fn size(&self) -> usize {
        self.images.values().map(RegisteredImage::size).sum::<usize>() + held_for(&self.json)
    }
}

impl RegisteredImage {
    fn size(&self) -> usize {
        held_for(&self.json)
    }
}

/// A manifest is kept twice: as it was registered, and understood.
fn held_for(json: &Bytes) -> usize {
    json.len().saturating_mul(2).saturating_add(OVERHEAD_BYTES)
}

#[derive(Debug, Default)]
struct Known {
    pods: HashMap<Uuid, RegisteredPod>,
    by_token: HashMap<String, Uuid>,
    held: usize,
}

/// All registered pods.
#[derive(Debug)]
pub struct Pods {
    known: Mutex<Known>,
    limit: usize,
}

impl Pods {
    /// None yet, and never more than take this many bytes.
    pub fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Registers a pod, in place of what was registered under its UUID. With the same token it keeps its apps.
    pub fn register(&self, uuid: Uuid, token: &str, json: Bytes) -> Result<(), Refusal> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(fits) {
            return Err(Refusal::Token);
        }
        let manifest = PodManifest::from_json(&json)?;
        let known = &mut *self.known();
        if known.by_token.get(token).is_some_and(|other| *other != uuid) {
            return Err(Refusal::TokenTaken);
        }
        let size = held_for(&json);
        if known.held.saturating_add(size) > self.limit {
            return Err(Refusal::Full);
        }
        let images = known.take(uuid).filter(|old| old.token == token).map(|old| old.images);
        let pod =
            RegisteredPod { uuid, json, manifest, images: images.unwrap_or_default(), token: token.into() };
        known.held += pod.size();
        known.by_token.insert(pod.token.clone(), uuid);
        known.pods.insert(uuid, pod);
        Ok(())
    }

    /// Another manifest of a pod that keeps its token: apps have come or gone. Images of those that have gone are forgotten.
    pub fn update(&self, uuid: Uuid, json: Bytes) -> Result<(), Refusal> {
        let manifest = PodManifest::from_json(&json)?;
        let known = &mut *self.known();
        let pod = known.pods.get_mut(&uuid).ok_or(Refusal::UnknownPod)?;
        if known.held.saturating_add(held_for(&json)) > self.limit {
            return Err(Refusal::Full);
        }
        let before = pod.size();
        pod.images.retain(|name, _| manifest.app(name).is_some());
        (pod.json, pod.manifest) = (json, manifest);
        known.held = known.held.saturating_sub(before).saturating_add(pod.size());
        Ok(())
    }

    /// Registers the image manifest of a pod's app, in place of an earlier one.
    pub fn register_app(&self, uuid: Uuid, app: &AcName, json: Bytes) -> Result<(), Refusal> {
        let manifest = ImageManifest::from_json(&json)?;
        let known = &mut *self.known();
        let image = RegisteredImage { json, manifest };
        let size = image.size();
        let Entry::Occupied(mut pod) = known.pods.entry(uuid) else { return Err(Refusal::UnknownPod) };
        if known.held.saturating_add(size) > self.limit {
            return Err(Refusal::Full);
        }
        let old = pod.get_mut().images.insert(app.to_string(), image);
        known.held = (known.held + size).saturating_sub(old.map_or(0, |old| old.size()));
        Ok(())
    }

    /// Forgets a pod.
    pub fn remove(&self, uuid: Uuid) -> Result<(), Refusal> {
        self.known().take(uuid).map(drop).ok_or(Refusal::UnknownPod)
    }

    /// What `look` sees of the pod that has the token; none if no pod has.
    pub fn with<T>(&self, token: &str, look: impl FnOnce(&RegisteredPod) -> T) -> Option<T> {
        let known = self.known();
        known.by_token.get(token).and_then(|uuid| known.pods.get(uuid)).map(look)
    }

    /// Nobody panics with the lock, and if somebody did, every change is made in one step that others can go on from.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn take(&mut self, uuid: Uuid) -> Option<RegisteredPod> {
        let pod = self.pods.remove(&uuid)?;
        self.by_token.remove(&pod.token);
        self.held = self.held.saturating_sub(pod.size());
        Some(pod)
    }
}

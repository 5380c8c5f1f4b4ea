//! `auth.d`, kind `dockerAuth`: who we are to docker registries.
//!
//! Responsible for: credentials by registry. Must not know: a registry's protocol. Follows rkt-reference.md 2.8.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::auth::{BasicCredentials, KINDS};
use super::{Merge, files};
use crate::error::Result;

const KIND: &str = "dockerAuth";
/// Names of the one registry that docker calls by several.
const DOCKER_HUB: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "docker.io"];

/// Credentials by registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerAuthConfig {
    registries: BTreeMap<String, BasicCredentials>,
}

/// A file of this kind.
#[derive(Deserialize)]
struct DockerAuthFile {
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    credentials: BasicCredentials,
}

impl DockerAuthConfig {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut all = DockerAuthConfig::default();
        for (path, file) in files::read::<DockerAuthFile>(directory, KIND, &KINDS)? {
            all.add(file).map_err(|why| files::invalid(&path, why))?;
        }
        Ok(all)
    }

    fn add(&mut self, file: DockerAuthFile) -> std::result::Result<(), String> {
        if file.registries.is_empty() {
            return Err("no registries specified".to_owned());
        }
        file.credentials.check()?;
        for registry in file.registries {
            if self.registries.contains_key(&registry) {
                return Err(format!("credentials for docker registry {registry:?} are already specified"));
            }
            self.registries.insert(registry, file.credentials.clone());
        }
        Ok(())
    }

    /// User and password for a registry, `host[:port]`. Docker Hub is found under each of its names.
    pub fn for_registry(&self, registry: &str) -> Option<(&str, &str)> {
        let others = if DOCKER_HUB.contains(&registry) { DOCKER_HUB.as_slice() } else { &[] };
        std::iter::once(registry)
            .chain(others.iter().copied())
            .find_map(|name| self.registries.get(name))
            .map(|found| (found.user.as_str(), found.password.reveal()))
    }

    /// The registries with their credentials, in order.
    pub fn registries(&self) -> impl Iterator<Item = (&str, &BasicCredentials)> {
        self.registries.iter().map(|(registry, credentials)| (registry.as_str(), credentials))
    }
}

impl Merge for DockerAuthConfig {
    fn override_with(&mut self, later: Self) {
        self.registries.extend(later.registries);
    }
}

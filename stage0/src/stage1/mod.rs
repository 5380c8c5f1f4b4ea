//! stage1 as stage0 sees it: an image whose annotations name programs to run.
//!
//! Responsible for: choosing the image, its entrypoints and interface version, calling them. Must not know: what any
//! flavor does. Follows rkt-reference.md 4.

pub mod call;
pub mod crossing;
pub mod select;

#[cfg(test)]
mod call_test;

use appc::ImageManifest;

use crate::error::{Result, Stage0Error};

/// What stage0 asks a stage1 to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrypoint {
    /// Run the pod.
    Run,
    /// Run a command in an app of the running pod.
    Enter,
    /// Stop the running pod.
    Stop,
    /// Clean up after it.
    Gc,
    /// Connect this terminal to an app.
    Attach,
    /// Add an app to the running pod.
    AppAdd,
    /// Start one of its apps.
    AppStart,
    /// Stop one.
    AppStop,
    /// Take one away.
    AppRm,
    /// Print what the running pod counts.
    Metrics,
}

impl Entrypoint {
    const fn name(self) -> &'static str {
        match self {
            Entrypoint::Run => "run",
            Entrypoint::Enter => "enter",
            Entrypoint::Stop => "stop",
            Entrypoint::Gc => "gc",
            Entrypoint::Attach => "attach",
            Entrypoint::AppAdd => "app/add",
            Entrypoint::AppStart => "app/start",
            Entrypoint::AppStop => "app/stop",
            Entrypoint::AppRm => "app/rm",
            Entrypoint::Metrics => "metrics",
        }
    }
}

/// The manifest of a stage1 image.
#[derive(Debug)]
pub struct Stage1Manifest<'m>(pub &'m ImageManifest);

impl<'m> Stage1Manifest<'m> {
    /// Path of a program below stage1's root, without a leading slash. Errors: the annotation is missing or leads
    /// out of the root.
    pub fn entrypoint(&self, entrypoint: Entrypoint) -> Result<&'m str> {
        let name = entrypoint.name();
        let path = self
            .0
            .annotations
            .get(&format!("coreos.com/rkt/stage1/{name}"))
            .ok_or_else(|| Stage0Error::refused(format!("entrypoint {name:?} not found")))?;
        let relative = path.trim_start_matches('/');
        if relative.is_empty() || relative.split('/').any(|part| part == "..") {
            return Err(Stage0Error::refused(format!(
                "entrypoint {name:?} of stage1 is not a path below its root: {path:?}"
            )));
        }
        Ok(relative)
    }

    /// Errors: apps cannot come and go in its pods.
    pub fn expect_mutable(&self) -> Result<()> {
        let needed = [Entrypoint::AppRm, Entrypoint::AppStart, Entrypoint::AppStop];
        match needed.into_iter().all(|entrypoint| self.entrypoint(entrypoint).is_ok()) {
            true => Ok(()),
            false => Err(Stage0Error::refused("stage1 does not support mutable pods")),
        }
    }

    /// Whether it gives every pod host users of its own, asked or not.
    pub fn has_own_users(&self) -> bool {
        self.0.annotations.get("coreos.com/rkt/stage1/private-users") == Some("always")
    }

    /// Whether it mounts the overlays of apps itself, from their trees and what was made for their changes.
    pub fn mounts_app_overlays(&self) -> bool {
        self.0.annotations.get("coreos.com/rkt/stage1/app-overlays") == Some("stage1")
    }

    /// The version of the interface it was written for.
    pub fn interface_version(&self) -> Result<u32> {
        match self.0.annotations.get("coreos.com/rkt/stage1/interface-version") {
            None => Ok(1),
            Some(text) => text
                .parse()
                .map_err(|_| Stage0Error::refused(format!("invalid interface version {text:?} of stage1"))),
        }
    }
}

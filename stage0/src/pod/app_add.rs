//! An app that comes to a running pod, and one that goes.
//!
//! Responsible for: all steps of both, and that a failure in any of them leaves the pod without the app. Must not know: where
//! the app's image came from, what stage1 does. Follows rkt-reference.md 4.7 and 7.4.

use std::ffi::OsString;
use std::path::Path;

use appc::RuntimeApp;

use super::app_files::AppFiles;
use super::assemble::{app_directory, mount_app, stage1_root};
use super::copy::copy_tree;
use super::locate::FoundPod;
use super::metadata_service;
use super::prepare::{PodImage, create_below, write, write_whole};
use super::sandbox::{Sandbox, names_collide};
use crate::cli::attach_mode::word;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::fault;
use crate::log::Log;
use crate::stage1::Entrypoint;
use crate::stage1::crossing::{Crossing, Outcome};
use crate::store::TreeStore;

/// An app to add.
#[derive(Debug)]
pub struct NewApp<'a> {
    /// Its entry in the pod's manifest.
    pub app: &'a RuntimeApp,
    /// Its image, rendered.
    pub image: &'a PodImage,
    /// Where that is.
    pub trees: &'a TreeStore,
    /// Who besides root may look at what it changes.
    pub group: Option<u32>,
}

impl NewApp<'_> {
    /// Adds the app to a running pod. `registered` is called when the pod's directory says which tree the app is made of.
    pub fn add(
        &self,
        sandbox: &mut Sandbox<'_>,
        crossing: &Crossing<'_>,
        log: Log,
        registered: impl FnOnce(),
    ) -> Result<()> {
        let (pod, name) = (sandbox.pod(), self.app.name.as_str());
        let files = AppFiles { pod, app: name };
        let is_known = sandbox.manifest().app(name).is_some();
        if is_known && !files.is_incomplete() {
            return Err(Stage0Error::refused(format!("error: multiple apps with name {name}")));
        }
        let mut others = sandbox.manifest().apps.iter().map(|app| app.name.as_str());
        if let Some(other) = others.find(|other| names_collide(name, other)) {
            return Err(Stage0Error::refused(format!(
                "an app called {name:?} cannot be in a pod with one called {other:?}: their status files would be the same"
            )));
        }
        if is_known || files.info().exists() {
            log.debug(format!("removing what is left of an earlier app {name:?}"));
            take_away(sandbox, name, Some(crossing), log)?;
        }
        let added = self.add_step_by_step(sandbox, &files, crossing, log, registered);
        if added.is_err()
            && let Err(error) = take_away(sandbox, name, Some(crossing), log)
        {
            log.error(&Stage0Error::Failed {
                what: "error undoing what was done".to_owned(),
                cause: error.into(),
            });
        }
        added
    }

    fn add_step_by_step(
        &self,
        sandbox: &mut Sandbox<'_>,
        files: &AppFiles<'_>,
        crossing: &Crossing<'_>,
        log: Log,
        registered: impl FnOnce(),
    ) -> Result<()> {
        let pod = sandbox.pod();
        files.mark_incomplete()?;
        self.write_info(files)?;
        registered();
        let left_to_stage1 = crossing.stage1().mounts_app_overlays();
        self.put_root(pod.path(), pod.uses_overlay(), left_to_stage1)
            .context("error setting up app image")?;
        let rkt = stage1_root(pod.path()).join("rkt");
        for directory in ["stage1/rootfs/rkt/env", "stage1/rootfs/rkt/status"] {
            create_below(pod.path(), Path::new(directory))?;
        }
        write(&rkt.join("env").join(files.app), self.environment().as_bytes(), 0o644)?;
        fault::point("app.environment.written");
        sandbox.change(|manifest| manifest.apps.push(self.app.clone()))?;
        write(&files.created(&rkt.join("status")), b"", 0o644)?;
        fault::point("app.created");
        let uuid = format!("--uuid={}", pod.uuid());
        let arguments = crossing_arguments(crossing.is_debug(), Some(&uuid), files.app);
        crossing.run(Entrypoint::AppAdd, &arguments)?.expect_done()?;
        fault::point("app.called");
        tell_metadata_service(sandbox, Some((files.app, &self.image.manifest)), log);
        files.mark_complete()
    }

    fn write_info(&self, files: &AppFiles<'_>) -> Result<()> {
        let info = files.info();
        write(&info.join("manifest"), &self.image.manifest, 0o640)?;
        if files.pod.uses_overlay() {
            // `image gc` reads it at any time, and an empty one would stop it for the rest of the pod's life.
            write_whole(&info.join("treeStoreID"), self.image.tree.as_str().as_bytes(), 0o640)?;
        }
        fault::point("app.info.written");
        Ok(())
    }

    fn put_root(&self, pod: &Path, overlay: bool, left_to_stage1: bool) -> Result<()> {
        let name = self.app.name.as_str();
        if overlay {
            mount_app(pod, self.trees, name, &self.image.tree, self.group, left_to_stage1)?;
        } else {
            create_below(pod, &Path::new("stage1/rootfs/opt/stage2").join(name))?;
            copy_tree(&self.trees.rootfs(&self.image.tree), &app_directory(pod, name).join("rootfs"), None)?;
            fault::point("app.copied");
        }
        write(&app_directory(pod, name).join("manifest"), &self.image.manifest, 0o640)?;
        fault::point("app.root.made");
        Ok(())
    }

    /// What a manifest says of the app's environment, and its name: one unquoted variable a line.
    fn environment(&self) -> String {
        let mut app = self.app.app.clone().unwrap_or_default();
        app.set_env("AC_APP_NAME", self.app.name.as_str());
        app.environment.iter().map(|variable| format!("{}={}\n", variable.name, variable.value)).collect()
    }
}

/// The metadata service may have been restarted, and know the pod no more: that is nothing to do without an app for.
fn tell_metadata_service(sandbox: &Sandbox<'_>, added: Option<(&str, &[u8])>, log: Log) {
    let (pod, manifest) = (sandbox.pod(), sandbox.manifest());
    if let Err(error) = metadata_service::apps_changed(pod.path(), &pod.uuid().to_string(), manifest, added) {
        log.print("warning: the metadata service does not know the pod's apps as they are now");
        log.error(&error);
    }
}

/// Takes an app, or what there is of it, out of a pod; `crossing` if that runs. It can be repeated after any failure.
pub fn take_away(
    sandbox: &mut Sandbox<'_>,
    name: &str,
    crossing: Option<&Crossing<'_>>,
    log: Log,
) -> Result<()> {
    let files = AppFiles { pod: sandbox.pod(), app: name };
    let is_known = sandbox.manifest().app(name).is_some();
    files.mark_incomplete()?;
    // stage1 hears of apps that are in the manifest only.
    if let (Some(crossing), true) = (crossing, is_known) {
        let arguments = crossing_arguments(crossing.is_debug(), None, name);
        let outcome = crossing.run(Entrypoint::AppRm, &arguments)?;
        // There is nothing to be taken out of a pod that has ended meanwhile.
        if outcome != Outcome::UnknownApp && is_running(files.pod)? {
            outcome.expect_done()?;
        }
        fault::point("app.removal.called");
    }
    files.remove()?;
    if is_known {
        sandbox.change(|manifest| manifest.apps.retain(|app| app.name.as_str() != name))?;
        if crossing.is_some() {
            tell_metadata_service(sandbox, None, log);
        }
    }
    files.remove_info()
}

fn is_running(pod: &FoundPod) -> Result<bool> {
    super::lock::is_locked_exclusively(pod.directory()).file("lock", pod.path())
}

/// Arguments of the entrypoints `app/…`.
pub fn crossing_arguments(debug: bool, uuid: Option<&str>, app: &str) -> Vec<OsString> {
    let debug = format!("--debug={}", word(debug));
    let app = format!("--app={app}");
    [Some(debug.as_str()), uuid, Some(&app)].into_iter().flatten().map(OsString::from).collect()
}

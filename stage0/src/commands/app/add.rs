//! `rkt app add`.
//!
//! Responsible for: the walk from an image in the store to an app of a running pod; everything that can be refused is, before
//! anything is changed. Must not know: how each step works. Follows rkt-reference.md 1.6 and 7.4.

use std::path::Path;

use appc::RuntimeApp;

use crate::cli::apps::{AppArguments, AppList};
use crate::cli::globals::GlobalFlags;
use crate::commands::images::Images;
use crate::commands::new_pod::{pod_image, prepare_lock};
use crate::config;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::group;
use crate::image::PullPolicy;
use crate::log::Log;
use crate::pod::app_add::NewApp;
use crate::pod::launch::Umask;
use crate::pod::locate::no_matches;
use crate::pod::manifest::{AppImage, added_app, check_mounts};
use crate::pod::sandbox::{self, Sandbox};
use crate::stage1::{Entrypoint, Stage1Manifest};
use crate::store::{ImageStore, Key, TreeStore};

/// The pod, the image, and the flags of the app.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Adds an app.
pub fn run(list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let (uuid, app) = match (list.operands.as_slice(), list.apps.as_slice()) {
        ([uuid], [app]) => (uuid, app),
        ([_], [_, _, ..]) => return Err(Stage0Error::refused("must give only one app")),
        _ => return Err(Stage0Error::refused("must provide the pod UUID and an IMAGEID")),
    };
    let (pods, pod) = super::find(globals, uuid)?;
    pod.expect_running()?;
    let failed = "error adding app to pod";
    let manifest = sandbox::manifest(&pod).context(failed)?;
    if !pod.is_ready() {
        return Err(Stage0Error::refused(format!(
            "supervisor for pod {:?} is not yet ready",
            pod.uuid().to_string()
        )));
    }
    let stage1 = pod.stage1_manifest().context(failed)?;
    Stage1Manifest(&stage1).entrypoint(Entrypoint::AppAdd).context(failed)?;
    let crossing = super::crossing(&pod, &stage1, super::first_process(&pods, &pod)?, log).context(failed)?;

    let _umask = Umask::share();
    let data = config::data_directory(globals)?;
    let images = ImageStore::open(&data).context("cannot open store")?;
    let trees = TreeStore::open(&data).context("cannot open treestore")?;
    let key = Images { store: &images, globals, pull_policy: PullPolicy::Never }.find(app)?;
    let mounts = list.mounts.iter().chain(&app.flags.mount);
    check_mounts(mounts, &manifest.volumes)?;
    let entry = entry(app, &list, &images, &key).context(failed)?;
    let group = group::rkt_gid();
    if group.is_none() {
        log.print("group \"rkt\" not found, will use default gid when rendering images");
    }

    let lock = prepare_lock(&data)?;
    let image = pod_image(&images, &trees, &key).context(failed)?;
    if pod.uses_overlay() && pod.stage1_tree()? == image.tree.as_str() {
        return Err(Stage0Error::refused("the image of the pod's stage1 cannot be one of its apps"))
            .context(failed);
    }
    let mut sandbox = Sandbox::lock(&pod).context(failed)?;
    // It may have ended while another app was added.
    pod.again(&pods)?.ok_or_else(|| no_matches(uuid))?.expect_running()?;
    let app = NewApp { app: &entry, image: &image, trees: &trees, group };
    app.add(&mut sandbox, &crossing, log, || drop(lock)).context(failed)?;
    Ok(0)
}

/// The app in the pod's manifest.
fn entry(app: &AppArguments, list: &AppList, images: &ImageStore, key: &Key) -> Result<RuntimeApp> {
    let manifest = images.manifest(key).context(format!("error reading the manifest of image {key}"))?;
    appc::check_host(&manifest.labels).context(format!("cannot run image {}", app.image))?;
    let image = AppImage { id: key.image_id().context("bad image ID")?, manifest };
    let entry = added_app(app, &list.mounts, &image)?;
    for volume in entry.mounts.iter().filter_map(|mount| mount.app_volume.as_ref()) {
        if let Some(source) = &volume.source {
            let path = Path::new(source);
            path.metadata().file("find", path).context(format!("volume {:?}", volume.name.as_str()))?;
        }
    }
    Ok(entry)
}

//! `rkt run`.
//!
//! Responsible for: the walk from arguments to stage1, in rkt's order. Must not know: how each step works. Follows
//! rkt-reference.md 1.6.

use std::path::{Path, PathBuf};

use appc::{AcName, PodManifest};
use rustix::fs::Mode;

use super::images::Images;
use super::require_superuser;
use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::cli::pod_flags::{NetworkFlags, PrepareFlags, Stage1Flags};
use crate::config::{self, Configuration};
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::group;
use crate::image::PullPolicy;
use crate::log::Log;
use crate::pod::assemble::{PodTrees, mount_overlays, write_apps};
use crate::pod::environment::{self, PodEnvironment};
use crate::pod::lifecycle::Pod;
use crate::pod::locate::Pods;
use crate::pod::manifest::{AppImage, PodSettings, check_mounts, generate};
use crate::pod::overlay;
use crate::pod::prepare::{PodContent, PodImage};
use crate::pod::uuid_file;
use crate::stage1::call::{RunOptions, exec_run, run_arguments};
use crate::stage1::select::Selection;
use crate::stage1::{Entrypoint, Stage1Manifest};
use crate::store::{ImageStore, Key, KeyLock, LockKind, TreeStore};

/// Takes nothing from the modes that the files of a pod are made with.
const SHARING_UMASK: Mode = Mode::from_raw_mode(0o022);

/// Flags of `rkt run`, and from the first image on everything else.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    prepare: PrepareFlags,

    #[command(flatten)]
    stage1: Stage1Flags,

    #[command(flatten)]
    network: NetworkFlags,

    /// write out pod UUID to specified file
    #[arg(long, value_name = "string")]
    uuid_file_save: Option<PathBuf>,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Runs a pod. Returns only if that fails.
pub fn run(arguments: &Arguments, list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    check_flags(arguments, &list)?;
    // Group rkt may look at pods whatever the caller's umask; that one is stage1's again in the end.
    let umask = rustix::process::umask(SHARING_UMASK);
    let networks = arguments.network.networks().map_err(Stage0Error::refused)?;
    let stage1_choice = arguments.stage1.choice().map_err(Stage0Error::refused)?;

    let data = config::data_directory(globals)?;
    let configuration = Configuration::of(globals);
    let images = ImageStore::open(&data).context("cannot open store")?;
    let trees = TreeStore::open(&data).context("cannot open treestore")?;
    let pull_policy = arguments.prepare.store.or(arguments.prepare.pull_policy)?;
    let finder = Images { store: &images, globals, pull_policy };

    let selection = Selection {
        store: &images,
        configuration: &configuration,
        fetch: &|image| finder.find_stage1(image),
        log: log.named("stage0"),
    };
    let stage1_key = selection.select(stage1_choice.as_ref())?;
    let (manifest, manifest_json, keys) = pod_manifest(arguments, list, &images, &finder)?;

    // Held until the pod's directory says which trees it uses: `image gc` removes the others.
    let prepare_lock = KeyLock::acquire(&data.join("locks"), "prepareLock", LockKind::Shared)
        .context("error acquiring prepare lock")?;
    let stage1 = pod_image(&images, &trees, &stage1_key)?;
    let stage1_manifest = images.manifest(&stage1_key).context("error reading stage1 manifest")?;
    let stage1_manifest = Stage1Manifest(&stage1_manifest);
    let entrypoint = stage1_manifest.entrypoint(Entrypoint::Run)?;
    let interface = stage1_manifest.interface_version()?;
    let mut apps: Vec<(AcName, PodImage)> = Vec::with_capacity(keys.len());
    for (app, key) in manifest.apps.iter().zip(&keys) {
        apps.push((app.name.clone(), pod_image(&images, &trees, key)?));
    }
    let use_overlay = overlay_choice(arguments, &data, log)?;

    let pod = Pod::create(&Pods::of(&data))?;
    if let Some(path) = &arguments.uuid_file_save {
        uuid_file::write(path, &pod.uuid().to_string())?;
    }
    let content = PodContent { manifest: &manifest_json, stage1: &stage1, apps: &apps, overlay: use_overlay };
    content.write(&pod, &trees).context("error setting up stage0")?;
    drop(prepare_lock);

    let pod = pod.into_run()?;
    let path = pod.path();
    let group = group::rkt_gid();
    if group.is_none() {
        log.print("group \"rkt\" not found, will use default gid when rendering images");
    }
    if use_overlay {
        let apps = apps.iter().map(|(name, image)| (name.as_str(), &image.tree)).collect();
        let trees = PodTrees { store: &trees, stage1: &stage1.tree, apps, group };
        mount_overlays(&path, &trees).context("error setting up overlay")?;
    }
    write_apps(&path, &manifest, |name| {
        apps.iter().find(|(app, _)| app.as_str() == name).map(|(_, image)| image.manifest.as_slice())
    })
    .context("error setting up stage1")?;

    let uuid = pod.uuid().to_string();
    let options = RunOptions {
        debug: globals.debug,
        networks: &networks,
        local_config: &globals.local_config,
        hostname: arguments.network.hostname.as_deref().filter(|hostname| !hostname.is_empty()),
        insecure: globals.insecure_options,
    };
    let stage1_arguments = run_arguments(&options, interface, &uuid, log);
    log.named("stage0").debug("Execing /".to_owned() + entrypoint);
    rustix::process::umask(umask);
    Err(exec_run(&path, entrypoint, &stage1_arguments, &pod.into_lock()))
}

fn check_flags(arguments: &Arguments, list: &AppList) -> Result<()> {
    let prepare = &arguments.prepare;
    if prepare.pod_manifest.is_some() {
        let conflicts = !list.apps.is_empty()
            || !list.mounts.is_empty()
            || !prepare.volume.is_empty()
            || prepare.pull_policy != PullPolicy::New
            || prepare.inherit_env
            || !prepare.set_env.is_empty()
            || !prepare.set_env_file.is_empty();
        if conflicts {
            return Err(Stage0Error::refused("conflicting flags set with --pod-manifest (see --help)"));
        }
        return Ok(());
    }
    if list.apps.is_empty() {
        return Err(Stage0Error::refused("must provide at least one image or specify the pod manifest"));
    }
    check_mounts(
        list.mounts.iter().chain(list.apps.iter().flat_map(|app| &app.flags.mount)),
        &prepare.volume,
    )?;
    for (index, (name, _)) in prepare.set_env.iter().enumerate() {
        if prepare.set_env.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(Stage0Error::refused(format!("key {name:?} already set")));
        }
    }
    Ok(())
}

/// The pod manifest, its bytes, and the apps' images in the manifest's order.
fn pod_manifest(
    arguments: &Arguments,
    list: AppList,
    images: &ImageStore,
    finder: &Images<'_>,
) -> Result<(PodManifest, Vec<u8>, Vec<Key>)> {
    if let Some(path) = &arguments.prepare.pod_manifest {
        return given_manifest(path, images);
    }
    let environment = pod_environment(&arguments.prepare)?;
    let settings =
        PodSettings { volumes: arguments.prepare.volume.clone(), mounts: list.mounts, environment };
    let mut apps = Vec::with_capacity(list.apps.len());
    let mut keys = Vec::with_capacity(list.apps.len());
    for app in list.apps {
        let key = finder.find(&app)?;
        let manifest = images.manifest(&key).context(format!("error reading the manifest of image {key}"))?;
        appc::check_host(&manifest.labels).context(format!("cannot run image {}", app.image))?;
        let id = key.image_id().context("bad image ID")?;
        apps.push((app, AppImage { id, manifest }));
        keys.push(key);
    }
    let manifest = generate(&apps, &settings)?;
    let json = serde_json::to_vec(&manifest).context("error marshalling pod manifest")?;
    Ok((manifest, json, keys))
}

/// A manifest written by the user is kept as it is, once everything it names was found.
fn given_manifest(path: &Path, images: &ImageStore) -> Result<(PodManifest, Vec<u8>, Vec<Key>)> {
    let json = std::fs::read(path).file("read", path)?;
    let manifest = PodManifest::from_json(&json).context("error loading pod manifest")?;
    if manifest.apps.is_empty() {
        return Err(Stage0Error::refused("pod must contain at least one application"));
    }
    let mut keys = Vec::with_capacity(manifest.apps.len());
    for app in &manifest.apps {
        let id = &app.image.id;
        let key =
            images.resolve_key(id.as_str()).context(format!("error finding image {id} in the store"))?;
        let image = images.manifest(&key).context(format!("error reading the manifest of image {id}"))?;
        appc::check_host(&image.labels).context(format!("cannot run image {id}"))?;
        if app.app.is_none() && image.app.is_none() {
            return Err(Stage0Error::refused(format!(
                "no app section in the pod manifest or the image manifest of {:?}",
                app.name.as_str()
            )));
        }
        keys.push(key);
    }
    Ok((manifest, json, keys))
}

fn pod_environment(prepare: &PrepareFlags) -> Result<PodEnvironment> {
    let inherited = if prepare.inherit_env {
        // What is not text cannot be written to a manifest.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    } else {
        Vec::new()
    };
    let from_files =
        environment::read_files(&prepare.set_env_file).context("error reading environment file")?;
    Ok(PodEnvironment { inherited, from_files, explicit: prepare.set_env.clone() })
}

fn pod_image(images: &ImageStore, trees: &TreeStore, key: &Key) -> Result<PodImage> {
    let manifest = images.manifest_json(key).context(format!("error reading the manifest of image {key}"))?;
    let tree = trees.render(images, key).context(format!("error rendering image {key}"))?;
    Ok(PodImage { manifest, tree })
}

fn overlay_choice(arguments: &Arguments, data: &Path, log: Log) -> Result<bool> {
    if arguments.prepare.no_overlay {
        return Ok(false);
    }
    match overlay::unsupported(data)? {
        None => Ok(true),
        Some(reason) => {
            log.print(format!("disabling overlay support: {reason:?}"));
            Ok(false)
        }
    }
}

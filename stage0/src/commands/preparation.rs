//! From arguments to a pod on disk: what `run` and `prepare` have in common.
//!
//! Responsible for: the order of the steps, in rkt's: everything that can be refused is, before anything is fetched; every image
//! is found before there is a pod. Must not know: how each step works, what becomes of the pod. Follows
//! rkt-reference.md 1.6 (`run`, steps 1 to 9) and 2.6.

use std::io::Read;
use std::path::Path;

use appc::{Mount, PodManifest};

use super::images::Images;
use super::new_pod::{NewPod, overlay_choice};
use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::cli::pod_flags::{PrepareFlags, Stage1Choice, Stage1Flags};
use crate::config::Configuration;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::image::PullPolicy;
use crate::log::Log;
use crate::pod::environment::{self, PodEnvironment};
use crate::pod::lifecycle::{Pod, Prepare};
use crate::pod::machine_size;
use crate::pod::manifest::{AppImage, PodSettings, check_mounts, generate};
use crate::pod::ports::check_ports;
use crate::pod::user_range::UserRange;
use crate::stage1::Stage1Manifest;
use crate::stage1::select::Selection;
use crate::store::{ImageStore, Key, TreeStore};

/// A pod that was asked for and makes sense so far.
pub struct Preparation<'a> {
    flags: &'a PrepareFlags,
    stage1: Option<Stage1Choice>,
    pull_policy: PullPolicy,
    list: AppList,
}

/// The pod's manifest and images.
struct Parts {
    manifest: PodManifest,
    json: Vec<u8>,
    /// The apps' images in the manifest's order.
    keys: Vec<Key>,
}

impl<'a> Preparation<'a> {
    /// Refuses what makes no sense. Touches nothing.
    pub fn check(flags: &'a PrepareFlags, stage1: &Stage1Flags, list: AppList) -> Result<Self> {
        let pull_policy = flags.store.or(flags.pull_policy)?;
        if flags.pod_manifest.is_some() {
            let conflicts = !list.apps.is_empty()
                || !list.mounts.is_empty()
                || !flags.volume.is_empty()
                || !flags.port.is_empty()
                || !flags.machine.is_empty()
                || pull_policy != PullPolicy::New
                || flags.inherit_env
                || !flags.set_env.is_empty()
                || !flags.set_env_file.is_empty();
            if conflicts {
                return Err(Stage0Error::refused("conflicting flags set with --pod-manifest (see --help)"));
            }
        } else if list.apps.is_empty() {
            return Err(Stage0Error::refused("must provide at least one image or specify the pod manifest"));
        }
        let mounts = list.mounts.iter().chain(list.apps.iter().flat_map(|app| &app.flags.mount));
        check_mounts(mounts, &flags.volume)?;
        for (index, (name, _)) in flags.set_env.iter().enumerate() {
            if flags.set_env.iter().take(index).any(|(earlier, _)| earlier == name) {
                return Err(Stage0Error::refused(format!("key {name:?} already set")));
            }
        }
        let stage1 = stage1.choice().map_err(Stage0Error::refused)?;
        Ok(Preparation { flags, stage1, pull_policy, list })
    }

    /// Makes the pod. `created` is told its UUID before it is filled, so that it can be cleaned up whatever happens then.
    pub fn prepare(
        self,
        data: &Path,
        globals: &GlobalFlags,
        log: Log,
        created: impl FnOnce(&str) -> Result<()>,
    ) -> Result<Pod<Prepare>> {
        let configuration = Configuration::of(globals);
        let images = ImageStore::open(data).context("cannot open store")?;
        let trees = TreeStore::open(data).context("cannot open treestore")?;
        let finder = Images { store: &images, globals, pull_policy: self.pull_policy };
        let selection = Selection {
            store: &images,
            configuration: &configuration,
            fetch: &|image| finder.find_stage1(image),
            log: log.named("stage0"),
        };
        let stage1 = selection.select(self.stage1.as_ref())?;
        let flags = self.flags;
        let parts = match &flags.pod_manifest {
            Some(path) => Parts::given(path, &images)?,
            None => Parts::generate(flags, self.list, &images, &finder)?,
        };
        machine_size::check(&parts.manifest)?;
        let overlay = overlay_choice(flags.no_overlay, data, log)?;
        let users = private_users(flags, overlay, &images, &stage1)?;

        let apps = parts.manifest.apps.iter().map(|app| app.name.clone()).zip(parts.keys).collect();
        NewPod { manifest: &parts.json, stage1, apps, overlay, users }.make(data, &images, &trees, created)
    }
}

impl Parts {
    /// Made of what was typed and what the images say.
    fn generate(
        flags: &PrepareFlags,
        list: AppList,
        images: &ImageStore,
        finder: &Images<'_>,
    ) -> Result<Self> {
        let environment = pod_environment(flags)?;
        let settings = PodSettings {
            volumes: flags.volume.clone(),
            mounts: list.mounts,
            environment,
            ports: flags.port.clone(),
            isolators: flags.machine.isolators()?,
        };
        let mut apps = Vec::with_capacity(list.apps.len());
        let mut keys = Vec::with_capacity(list.apps.len());
        for app in list.apps {
            let key = finder.find(&app)?;
            let manifest =
                images.manifest(&key).context(format!("error reading the manifest of image {key}"))?;
            appc::check_host(&manifest.labels).context(format!("cannot run image {}", app.image))?;
            let id = key.image_id().context("bad image ID")?;
            apps.push((app, AppImage { id, manifest }));
            keys.push(key);
        }
        let manifest = generate(&apps, &settings)?;
        let json = serde_json::to_vec(&manifest).context("error marshalling pod manifest")?;
        Ok(Parts { manifest, json, keys })
    }

    /// A manifest written by the user is kept as it is, once everything it names was found.
    fn given(path: &Path, images: &ImageStore) -> Result<Self> {
        let json = read_bounded(path)?;
        let manifest = PodManifest::from_json(&json).context("error loading pod manifest")?;
        if manifest.apps.is_empty() {
            return Err(Stage0Error::refused("pod must contain at least one application"));
        }
        check_volumes(&manifest)?;
        let mut keys = Vec::with_capacity(manifest.apps.len());
        let mut ports = Vec::new();
        for app in &manifest.apps {
            let id = &app.image.id;
            let key =
                images.resolve_key(id.as_str()).context(format!("error finding image {id} in the store"))?;
            let image = images.manifest(&key).context(format!("error reading the manifest of image {id}"))?;
            appc::check_host(&image.labels).context(format!("cannot run image {id}"))?;
            let section = app.app.as_ref().or(image.app.as_ref()).ok_or_else(|| {
                Stage0Error::refused(format!(
                    "no app section in the pod manifest or the image manifest of {:?}",
                    app.name.as_str()
                ))
            })?;
            ports.extend(section.ports.iter().cloned());
            keys.push(key);
        }
        check_ports(&manifest.ports, &ports.iter().collect::<Vec<_>>())?;
        Ok(Parts { manifest, json, keys })
    }
}

fn pod_environment(flags: &PrepareFlags) -> Result<PodEnvironment> {
    let inherited = if flags.inherit_env {
        // What is not text cannot be written to a manifest.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    } else {
        Vec::new()
    };
    let from_files =
        environment::read_files(&flags.set_env_file).context("error reading environment file")?;
    Ok(PodEnvironment { inherited, from_files, explicit: flags.set_env.clone() })
}

/// A mount needs a volume of the pod's, or brings one along.
fn check_volumes(manifest: &PodManifest) -> Result<()> {
    let mounts = manifest.apps.iter().flat_map(|app| &app.mounts);
    let (own, of_the_pod): (Vec<&Mount>, Vec<&Mount>) = mounts.partition(|mount| mount.app_volume.is_some());
    for volume in own.iter().filter_map(|mount| mount.app_volume.as_ref()) {
        volume.validate().context("error loading pod manifest")?;
    }
    check_mounts(of_the_pod, &manifest.volumes)
}

/// The user's file, as far as a manifest may reach.
fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let mut json = Vec::new();
    let limit = appc::MAX_MANIFEST_BYTES as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut json))
        .file("read", path)
        .context("error reading pod manifest")?;
    Ok(json)
}

/// The host's IDs for a pod with `--private-users`. A stage1 that gives every pod IDs of its own needs none.
fn private_users(
    flags: &PrepareFlags,
    overlay: bool,
    images: &ImageStore,
    stage1: &Key,
) -> Result<Option<UserRange>> {
    if !flags.private_users {
        return Ok(None);
    }
    let manifest = images.manifest(stage1).context("error reading stage1 manifest")?;
    if Stage1Manifest(&manifest).has_own_users() {
        return Ok(None);
    }
    if !Path::new("/proc/self/uid_map").exists() {
        return Err(Stage0Error::refused(
            "--private-users is not supported, kernel compiled without user namespace support",
        ));
    }
    if overlay {
        return Err(Stage0Error::refused(
            "cannot use both overlay and user namespace: not implemented yet. (Try --no-overlay)",
        ));
    }
    UserRange::random().map(Some)
}

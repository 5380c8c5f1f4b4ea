//! The pod manifest: made from what was typed and from the images' own manifests.
//!
//! Responsible for: how the command line overrides images, byte for byte as rkt wrote it. Must not know: stores, pods on
//! disk. Follows rkt-reference.md 1.4, 2.6 and 6.2.

use appc::{
    AcVersion, App, ExposedPort, ImageId, ImageManifest, Isolator, Mount, PodManifest, RuntimeApp,
    RuntimeImage, Volume,
};

use super::environment::PodEnvironment;
use super::ports::check_ports;
use crate::cli::app_flags::AppFlags;
use crate::cli::apps::AppArguments;
use crate::cli::isolators::SetMode;
use crate::cli::stdio::{InputMode, OutputMode};
use crate::cli::values::parse_bool;
use crate::error::{Context, Result, Stage0Error};

/// Name of the annotation that tells mutable pods.
pub const MUTABLE: &str = "coreos.com/rkt/stage1/mutable";

/// An image of the store that an app runs.
#[derive(Debug, Clone)]
pub struct AppImage {
    /// Its key.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: ImageManifest,
}

/// What was said about the whole pod.
#[derive(Debug, Clone, Default)]
pub struct PodSettings {
    /// Volumes of the pod.
    pub volumes: Vec<Volume>,
    /// Mounts of every app.
    pub mounts: Vec<Mount>,
    /// Variables of every app.
    pub environment: PodEnvironment,
    /// Ports of the host that lead to apps.
    pub ports: Vec<ExposedPort>,
    /// Limits of the whole pod.
    pub isolators: Vec<Isolator>,
}

/// Makes the manifest of a pod.
pub fn generate(apps: &[(AppArguments, AppImage)], settings: &PodSettings) -> Result<PodManifest> {
    let version: AcVersion = env!("CARGO_PKG_VERSION").parse().context("bad version of rkt itself")?;
    let mut manifest = PodManifest::new(version);
    for (arguments, image) in apps {
        let app = runtime_app(arguments, image, settings)?;
        if manifest.app(app.name.as_str()).is_some() {
            return Err(Stage0Error::refused(format!("error: multiple apps with name {}", app.name)));
        }
        manifest.apps.push(app);
    }
    manifest.volumes = settings.volumes.clone();
    manifest.isolators = settings.isolators.clone();
    let ports = manifest.apps.iter().filter_map(|app| app.app.as_ref()).flat_map(|app| &app.ports);
    check_ports(&settings.ports, &ports.collect::<Vec<_>>())?;
    manifest.ports = settings.ports.clone();
    manifest.annotations.set(MUTABLE.parse().context("bad annotation name")?, "false");
    manifest.validate().context("error generating pod manifest")?;
    Ok(manifest)
}

/// What was said about a pod without apps.
#[derive(Debug, Clone, Default)]
pub struct SandboxSettings {
    /// Ports of the host that lead to ports of the pod.
    pub ports: Vec<ExposedPort>,
    /// Notes for tools.
    pub annotations: Vec<(String, String)>,
    /// Free text of users.
    pub user_annotations: Vec<(String, String)>,
    /// Free text of users.
    pub user_labels: Vec<(String, String)>,
    /// Limits of the whole pod.
    pub isolators: Vec<Isolator>,
}

/// Makes the manifest of a pod to which apps will be added.
pub fn sandbox(settings: &SandboxSettings) -> Result<PodManifest> {
    let version: AcVersion = env!("CARGO_PKG_VERSION").parse().context("bad version of rkt itself")?;
    let mut manifest = PodManifest::new(version);
    manifest.isolators = settings.isolators.clone();
    manifest.ports = settings.ports.clone();
    for (key, value) in &settings.annotations {
        manifest.annotations.set(key.parse().context("error parsing --annotation")?, value.as_str());
    }
    manifest.annotations.set(MUTABLE.parse().context("bad annotation name")?, "true");
    manifest.user_annotations = settings.user_annotations.iter().cloned().collect();
    manifest.user_labels = settings.user_labels.iter().cloned().collect();
    manifest.validate().context("error generating pod manifest")?;
    Ok(manifest)
}

/// Makes the entry of an app that is added to a pod. Its arguments take the place of the image's.
pub fn added_app(arguments: &AppArguments, mounts: &[Mount], image: &AppImage) -> Result<RuntimeApp> {
    let settings = PodSettings { mounts: mounts.to_vec(), ..PodSettings::default() };
    let command = AppArguments { arguments: Vec::new(), ..arguments.clone() };
    let mut app = runtime_app(&command, image, &settings)?;
    if let (Some(section), false) = (&mut app.app, arguments.arguments.is_empty()) {
        section.exec.truncate(1);
        section.exec.extend(arguments.arguments.iter().cloned());
    }
    Ok(app)
}

/// Whether apps may be added to and taken from a pod. Errors: its manifest says neither.
pub fn is_mutable(manifest: &PodManifest) -> Result<bool> {
    let Some(text) = manifest.annotations.get(MUTABLE) else { return Ok(false) };
    parse_bool(text).map_err(Stage0Error::refused).context("error parsing mutable annotation")
}

/// Every mount must name a volume of the pod.
pub fn check_mounts<'m>(mounts: impl IntoIterator<Item = &'m Mount>, volumes: &[Volume]) -> Result<()> {
    for mount in mounts {
        if !volumes.iter().any(|volume| volume.name == mount.volume) {
            return Err(Stage0Error::refused(format!(
                "dangling mount point {:?}: volume {:?} not found",
                mount.path,
                mount.volume.as_str()
            )));
        }
    }
    Ok(())
}

fn runtime_app(arguments: &AppArguments, image: &AppImage, settings: &PodSettings) -> Result<RuntimeApp> {
    let flags = &arguments.flags;
    let name = match &flags.name {
        Some(name) => name.clone(),
        None => image.manifest.name.default_app_name().context("error naming app (try --name)")?,
    };
    let mut annotations = appc::Annotations::default();
    for (key, value) in &flags.annotation {
        annotations.set(key.parse().context("error parsing --annotation")?, value.as_str());
    }
    set_stdio(&mut annotations, flags)?;
    Ok(RuntimeApp {
        name,
        image: RuntimeImage {
            name: Some(image.manifest.name.clone()),
            id: image.id.clone(),
            labels: image.manifest.labels.clone(),
        },
        app: Some(app_section(arguments, image, settings)?),
        read_only_root_fs: flags.readonly_rootfs.unwrap_or(false),
        mounts: merge_mounts(flags.mount.iter().chain(&flags.mnt_volume), &settings.mounts),
        annotations,
    })
}

/// What no flag says is left to stage1: input from nowhere, outputs to the log.
fn set_stdio(annotations: &mut appc::Annotations, flags: &AppFlags) -> Result<()> {
    let modes = [
        ("stdin", flags.stdin.map(InputMode::as_str)),
        ("stdout", flags.stdout.map(OutputMode::as_str)),
        ("stderr", flags.stderr.map(OutputMode::as_str)),
    ];
    for (stream, mode) in modes {
        if let Some(mode) = mode {
            let name = format!("coreos.com/rkt/stage2/{stream}");
            annotations.set(name.parse().context("bad annotation name")?, mode);
        }
    }
    Ok(())
}

fn app_section(arguments: &AppArguments, image: &AppImage, settings: &PodSettings) -> Result<App> {
    let flags = &arguments.flags;
    let mut app = match (&image.manifest.app, flags.exec.first()) {
        (Some(app), _) => app.clone(),
        (None, Some(_)) => App {
            user: rustix::process::getuid().as_raw().to_string(),
            group: rustix::process::getgid().as_raw().to_string(),
            ..App::default()
        },
        (None, None) => {
            return Err(Stage0Error::refused(format!(
                "error: image {} has no app section and --exec argument is not provided",
                image.id
            )));
        }
    };
    if let Some(exec) = flags.exec.first() {
        app.exec = vec![exec.clone()];
    }
    app.exec.extend(arguments.arguments.iter().cloned());
    set_isolators(&mut app, flags)?;
    if let Some(user) = &flags.user {
        app.user.clone_from(user);
    }
    if let Some(group) = &flags.group {
        app.group.clone_from(group);
    }
    app.supplementary_gids.extend(&flags.supplementary_gids);
    if let Some(directory) = &flags.working_dir {
        app.working_directory = Some(directory.clone());
    }
    // Users' notes replace the image's as a whole.
    for (notes, pairs) in
        [(&mut app.user_annotations, &flags.user_annotation), (&mut app.user_labels, &flags.user_label)]
    {
        if !pairs.is_empty() {
            *notes = pairs.iter().cloned().collect();
        }
    }
    for (name, value) in &flags.environment {
        app.set_env(name, value);
    }
    settings.environment.apply(&mut app);
    Ok(app)
}

/// Quantities follow the image's own isolators, and the last one counts; everything else takes their place.
fn set_isolators(app: &mut App, flags: &AppFlags) -> Result<()> {
    if let Some(memory) = &flags.memory {
        app.isolators.push(limit("resource/memory", memory)?);
    }
    if let Some(cpu) = &flags.cpu {
        app.isolators.push(limit("resource/cpu", cpu)?);
    }
    if let Some(shares) = flags.cpu_shares {
        replace(app, &["os/linux/cpu-shares"], "os/linux/cpu-shares", shares.into())?;
    }
    if let Some(score) = flags.oom_score_adj {
        replace(app, &["os/linux/oom-score-adj"], "os/linux/oom-score-adj", score.into())?;
    }
    let capabilities = match (&flags.caps_retain, &flags.caps_remove) {
        (Some(_), Some(_)) => {
            return Err(Stage0Error::refused(
                "error: cannot use both --caps-retain and --caps-remove on the same image",
            ));
        }
        (Some(set), None) => Some((SetMode::Retain, set)),
        (None, Some(set)) => Some((SetMode::Remove, set)),
        (None, None) => None,
    };
    if let Some((mode, set)) = capabilities {
        let sets = ["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"];
        let name = format!("os/linux/capabilities-{}-set", mode.as_str());
        replace(app, &sets, &name, serde_json::json!({ "set": set.0 }))?;
    }
    if let Some(filter) = &flags.seccomp {
        let sets = ["os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set"];
        let name = format!("os/linux/seccomp-{}-set", filter.mode.as_str());
        replace(app, &sets, &name, serde_json::json!({ "set": filter.set, "errno": filter.errno }))?;
    }
    Ok(())
}

/// Puts an isolator in the place of those called `old`.
fn replace(app: &mut App, old: &[&str], name: &str, value: serde_json::Value) -> Result<()> {
    app.isolators.retain(|isolator| !old.contains(&isolator.name.as_str()));
    app.isolators.push(Isolator { name: name.parse().context("bad isolator name")?, value });
    Ok(())
}

/// Request and limit are the same: a pod's machine is given what it may use.
pub fn limit(name: &str, quantity: &impl ToString) -> Result<Isolator> {
    Ok(Isolator {
        name: name.parse().context("bad isolator name")?,
        value: serde_json::json!({
            "default": false,
            "request": quantity.to_string(),
            "limit": quantity.to_string(),
        }),
    })
}

/// An app's own mounts win over the pod's at the same place.
fn merge_mounts<'m>(app: impl Iterator<Item = &'m Mount>, pod: &'m [Mount]) -> Vec<Mount> {
    let mut merged: Vec<Mount> = Vec::new();
    for mount in app.chain(pod) {
        let path = clean(&mount.path);
        if !merged.iter().any(|earlier| clean(&earlier.path) == path) {
            merged.push(mount.clone());
        }
    }
    merged
}

/// A path without `.`, `..` and repeated slashes, in the text alone (Go's `path.Clean`).
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    format!("{}{}", if rooted { "/" } else { "" }, parts.join("/"))
}

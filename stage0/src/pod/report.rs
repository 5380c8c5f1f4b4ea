//! The pod as JSON, for tools.
//!
//! Responsible for: the objects that `list` and `status` print with `--format`. Must not know: files. Follows
//! rkt-reference.md 7.2.

use std::collections::BTreeMap;
use std::path::Path;

use appc::{PodManifest, RuntimeApp, VolumeKind};
use serde::Serialize;

use super::app_state::AppTimes;
use super::inspect::Network;
use super::locate::FoundPod;
use super::manifest::is_mutable;
use super::memory::MemoryReport;
use super::state::State;
use crate::clock::{self, unix_nanoseconds, unix_seconds};
use crate::error::{Result, Stage0Error};

/// A pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PodReport {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<Network>,
    app_names: Vec<String>,
    apps: Vec<AppReport>,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    user_annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    user_labels: BTreeMap<String, String>,
    /// From the beginning of the user's command to each phase, in microseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    phases: BTreeMap<String, u64>,
    /// Memory of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryReport>,
}

/// An app of a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AppReport {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    image_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountReport>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    user_annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    user_labels: BTreeMap<String, String>,
}

/// A volume in an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountReport {
    name: String,
    container_path: String,
    host_path: String,
    read_only: bool,
}

impl PodReport {
    /// The apps alone. Errors: the manifest cannot be read.
    pub fn apps_of(pod: &FoundPod) -> Result<Vec<AppReport>> {
        Ok(apps(pod, &pod.manifest()?))
    }

    /// Describes a pod as it is. Errors: its manifest or its creation time cannot be read.
    pub fn of(pod: &FoundPod) -> Result<Self> {
        let manifest = if pod.state().has_manifest() { Some(pod.manifest()?) } else { None };
        let created = pod.creation_time().ok_or_else(|| Stage0Error::refused("invalid creation time"))?;
        let apps = manifest.as_ref().map(|manifest| apps(pod, manifest)).unwrap_or_default();
        Ok(PodReport {
            name: pod.uuid().to_string(),
            state: pod.state().as_str(),
            networks: pod.networks()?,
            app_names: apps.iter().map(|app| app.name.clone()).collect(),
            apps,
            created_at: unix_seconds(created),
            started_at: pod.start_time().map(unix_seconds),
            user_annotations: manifest.as_ref().map(|m| m.user_annotations.clone()).unwrap_or_default(),
            user_labels: manifest.as_ref().map(|m| m.user_labels.clone()).unwrap_or_default(),
            phases: BTreeMap::new(),
            memory: None,
        })
    }

    /// The same with what is too much for a list: how fast it came how far, and what it costs.
    pub fn with_measures(pod: &FoundPod) -> Result<Self> {
        let phases = pod.read_value("phases.json").ok();
        let pid = pod.pid().filter(|_| pod.state() == State::Running);
        Ok(PodReport {
            // Not every stage1 writes them, and not before the pod's first app runs.
            phases: phases.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            memory: pid.and_then(|pid| MemoryReport::of(pid, &pod.uuid().to_string())),
            ..Self::of(pod)?
        })
    }
}

/// An unreadable annotation makes no pod mutable.
fn apps(pod: &FoundPod, manifest: &PodManifest) -> Vec<AppReport> {
    let mutable = is_mutable(manifest).unwrap_or(false);
    let report = |app| {
        if mutable { AppReport::of_mutable(pod, manifest, app) } else { AppReport::of(pod, manifest, app) }
    };
    manifest.apps.iter().map(report).collect()
}

impl AppReport {
    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state.
    pub const fn state(&self) -> &'static str {
        self.state
    }

    /// The same as lines `key=value`.
    pub fn describe(&self) -> String {
        let mut text = format!("name={}\nstate={}\nimage_id={}\n", self.name, self.state, self.image_id);
        let mut line = |key: &str, value: String| text.push_str(&format!("{key}={value}\n"));
        for (key, time) in [
            ("created_at", self.created_at),
            ("started_at", self.started_at),
            ("finished_at", self.finished_at),
        ] {
            if let Some(time) = time {
                line(key, clock::go_default(time));
            }
        }
        if let Some(code) = self.exit_code {
            line("exit_code", code.to_string());
        }
        if !self.mounts.is_empty() {
            let mounts = self.mounts.iter().map(|mount| {
                format!("{}:{}:(read_only:{})", mount.host_path, mount.container_path, mount.read_only)
            });
            line("mounts", mounts.collect::<Vec<_>>().join(","));
        }
        for (key, notes) in [("user_annotations", &self.user_annotations), ("user_labels", &self.user_labels)]
        {
            if !notes.is_empty() {
                let notes = notes.iter().map(|(name, value)| format!("{name}:{value}"));
                line(key, notes.collect::<Vec<_>>().join(","));
            }
        }
        text
    }

    /// In a mutable pod each app has a life of its own.
    fn of_mutable(pod: &FoundPod, manifest: &PodManifest, app: &RuntimeApp) -> Self {
        let times = AppTimes::of(pod, app.name.as_str());
        AppReport {
            state: times.stage().as_str(),
            created_at: times.created.map(unix_nanoseconds),
            started_at: times.started.map(unix_nanoseconds),
            finished_at: times.finished.map(unix_nanoseconds),
            exit_code: times.exit_code,
            ..Self::of(pod, manifest, app)
        }
    }

    fn of(pod: &FoundPod, manifest: &PodManifest, app: &RuntimeApp) -> Self {
        let exit_code = pod.exit_code(app.name.as_str());
        let state = match pod.state() {
            _ if exit_code.is_some() => "exited",
            State::Embryo | State::Preparing | State::AbortedPrepare => "unknown",
            State::Prepared => "created",
            State::Running => "running",
            _ => "exited",
        };
        let section = app.app.as_ref();
        AppReport {
            name: app.name.to_string(),
            state,
            created_at: pod.creation_time().map(unix_nanoseconds),
            started_at: pod.start_time().map(unix_nanoseconds),
            finished_at: pod.marked_time().map(unix_nanoseconds),
            exit_code,
            image_id: app.image.id.to_string(),
            mounts: app
                .mounts
                .iter()
                .filter_map(|mount| MountReport::of(pod.path(), manifest, app, mount))
                .collect(),
            user_annotations: section.map(|app| app.user_annotations.clone()).unwrap_or_default(),
            user_labels: section.map(|app| app.user_labels.clone()).unwrap_or_default(),
        }
    }
}

impl MountReport {
    fn of(pod: &Path, manifest: &PodManifest, app: &RuntimeApp, mount: &appc::Mount) -> Option<Self> {
        let of_pod = manifest.volumes.iter().find(|volume| volume.name == mount.volume);
        let volume = mount.app_volume.as_ref().or(of_pod)?;
        // An app's empty volume is the pod's if that is empty as well; beside one of the host's it has a name of its own.
        let stands_alone = of_pod.is_some_and(|of_pod| of_pod.kind == VolumeKind::Host);
        let host_path = match volume.kind {
            VolumeKind::Host => volume.source.clone().unwrap_or_default(),
            VolumeKind::Empty => {
                let prefix = if stands_alone { format!("{}.", app.name) } else { String::new() };
                pod.join("sharedVolumes").join(format!("{prefix}{}", volume.name)).display().to_string()
            }
        };
        let mount_point = app.app.iter().flat_map(|app| &app.mount_points).find(|p| p.name == mount.volume);
        let read_only = volume.read_only.unwrap_or(mount_point.is_some_and(|point| point.read_only));
        Some(MountReport {
            name: mount.volume.to_string(),
            container_path: mount.path.clone(),
            host_path,
            read_only,
        })
    }
}

/// `json` or `json-pretty`, which indents with tabs.
pub fn to_json(value: &impl Serialize, pretty: bool) -> Result<String> {
    use crate::error::Context;
    if !pretty {
        return serde_json::to_string(value).context("error marshaling");
    }
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).context("error marshaling")?;
    String::from_utf8(bytes).context("error marshaling")
}

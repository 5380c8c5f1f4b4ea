//! The pod as JSON, for tools.
//!
//! Responsible for: the objects that `list` and `status` print with `--format`. Must not know: files. Follows
//! rkt-reference.md 7.2.

use std::collections::BTreeMap;
use std::path::Path;

use appc::{PodManifest, RuntimeApp, VolumeKind};
use serde::Serialize;

use super::inspect::Network;
use super::locate::FoundPod;
use super::state::State;
use crate::clock::{unix_nanoseconds, unix_seconds};
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
    /// Describes a pod as it is. Errors: its manifest or its creation time cannot be read.
    pub fn of(pod: &FoundPod) -> Result<Self> {
        let manifest = if pod.state().has_manifest() { Some(pod.manifest()?) } else { None };
        let created = pod.creation_time().ok_or_else(|| Stage0Error::refused("invalid creation time"))?;
        let apps = manifest
            .iter()
            .flat_map(|manifest| manifest.apps.iter().map(move |app| AppReport::of(pod, manifest, app)))
            .collect::<Vec<_>>();
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
        })
    }
}

impl AppReport {
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
        let volume = mount
            .app_volume
            .as_ref()
            .or_else(|| manifest.volumes.iter().find(|volume| volume.name == mount.volume))?;
        let host_path = match volume.kind {
            VolumeKind::Host => volume.source.clone().unwrap_or_default(),
            VolumeKind::Empty => pod.join("sharedVolumes").join(volume.name.as_str()).display().to_string(),
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

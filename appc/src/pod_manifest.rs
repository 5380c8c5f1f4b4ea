//! The pod manifest: what stage0 decided and stage1 runs.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::{decode, empty_as_null, null_as_default};
use crate::{
    AcIdentifier, AcName, AcVersion, Annotations, App, AppcError, ExposedPort, ImageId, Isolator, Labels,
    Mount, Volume,
};

/// `pod` in the pod directory (appc-spec `schema/pod.go`). The four lists behind `apps` are written as `null` when
/// empty, as rkt writes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodManifest {
    /// rkt's version.
    pub ac_version: AcVersion,
    ac_kind: PodKind,
    /// Unique names, in the order of the command line.
    #[serde(default, deserialize_with = "null_as_default")]
    pub apps: Vec<RuntimeApp>,
    /// Unique names.
    #[serde(default, deserialize_with = "null_as_default", serialize_with = "volumes_or_null")]
    pub volumes: Vec<Volume>,
    /// Limits of the whole pod.
    #[serde(default, deserialize_with = "null_as_default", serialize_with = "isolators_or_null")]
    pub isolators: Vec<Isolator>,
    /// Notes for tools, for example `coreos.com/rkt/stage1/mutable`.
    #[serde(default, serialize_with = "annotations_or_null")]
    pub annotations: Annotations,
    /// Ports of the host that lead to apps.
    #[serde(default, deserialize_with = "null_as_default", serialize_with = "ports_or_null")]
    pub ports: Vec<ExposedPort>,
    /// Free text of users.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub user_annotations: BTreeMap<String, String>,
    /// Free text of users.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub user_labels: BTreeMap<String, String>,
}

/// An app of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeApp {
    /// Unique in the pod.
    pub name: AcName,
    /// The image it runs.
    pub image: RuntimeImage,
    /// How to run it; absent means as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// Whether the app's root cannot be written to.
    #[serde(rename = "readOnlyRootFS", default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root_fs: bool,
    /// Volumes of the pod in this app.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Notes for tools, for example on its stdio.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

/// The image an app runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeImage {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AcIdentifier>,
    /// Its ID, which decides.
    pub id: ImageId,
    /// Its labels, for people.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl PodManifest {
    const KIND: &'static str = "pod manifest";

    /// A pod without apps. `version` is rkt's own.
    pub fn new(version: AcVersion) -> Self {
        Self {
            ac_version: version,
            ac_kind: PodKind,
            apps: Vec::new(),
            volumes: Vec::new(),
            isolators: Vec::new(),
            annotations: Annotations::default(),
            ports: Vec::new(),
            user_annotations: BTreeMap::new(),
            user_labels: BTreeMap::new(),
        }
    }

    /// Decodes and validates. Errors: [`AppcError::Json`] with line, column and excerpt; or what [`Self::validate`] says.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AppcError> {
        let manifest: Self = decode(Self::KIND, bytes)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Checks what the fields' types cannot say: unique names and valid apps, volumes and ports.
    pub fn validate(&self) -> Result<(), AppcError> {
        let mut apps = HashSet::new();
        for app in &self.apps {
            if !apps.insert(&app.name) {
                return Err(AppcError::DuplicateApp(app.name.to_string()));
            }
            if let Some(section) = &app.app {
                section.validate()?;
            }
        }
        let mut volumes = HashSet::new();
        for volume in &self.volumes {
            if !volumes.insert(&volume.name) {
                return Err(AppcError::DuplicateVolume(volume.name.to_string()));
            }
            volume.validate()?;
        }
        Ok(())
    }

    /// The app `name`.
    pub fn app(&self, name: &str) -> Option<&RuntimeApp> {
        self.apps.iter().find(|app| app.name.as_str() == name)
    }
}

fn volumes_or_null<S: Serializer>(list: &[Volume], serializer: S) -> Result<S::Ok, S::Error> {
    empty_as_null(list, serializer)
}

fn isolators_or_null<S: Serializer>(list: &[Isolator], serializer: S) -> Result<S::Ok, S::Error> {
    empty_as_null(list, serializer)
}

fn ports_or_null<S: Serializer>(list: &[ExposedPort], serializer: S) -> Result<S::Ok, S::Error> {
    empty_as_null(list, serializer)
}

fn annotations_or_null<S: Serializer>(annotations: &Annotations, serializer: S) -> Result<S::Ok, S::Error> {
    empty_as_null(annotations.as_slice(), serializer)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PodKind;

impl Serialize for PodKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("PodManifest")
    }
}

impl<'de> Deserialize<'de> for PodKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "PodManifest" => Ok(Self),
            _ => Err(serde::de::Error::custom("missing or bad ACKind (must be \"PodManifest\")")),
        }
    }
}

//! Volumes of a pod and where apps mount them.

use serde::{Deserialize, Serialize};

use crate::{AcName, AppcError};

/// Where a volume's files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeKind {
    /// A path of the host.
    Host,
    /// A new, empty directory that lives as long as the pod.
    Empty,
}

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Unique in the pod.
    pub name: AcName,
    /// Where its files come from.
    pub kind: VolumeKind,
    /// Absolute path on the host; of `host` volumes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether every app sees it read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether mounts below the source are seen too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// Mode of an `empty` volume, octal text (default `0755`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner of an `empty` volume (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group of an `empty` volume (default 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl Volume {
    /// Checks what the fields' types cannot say.
    pub fn validate(&self) -> Result<(), AppcError> {
        let wrong = |reason| Err(AppcError::InvalidVolume { name: self.name.to_string(), reason });
        match (self.kind, &self.source) {
            (VolumeKind::Empty, Some(_)) => wrong("source must be empty"),
            (VolumeKind::Empty, None) => match &self.mode {
                Some(mode) if u32::from_str_radix(mode, 8).map_or(true, |mode| mode > 0o7777) => {
                    wrong("mode must be an octal number of at most 7777")
                }
                _ => Ok(()),
            },
            (VolumeKind::Host, None) => wrong("source for host volume cannot be empty"),
            (VolumeKind::Host, Some(source)) if !source.starts_with('/') => {
                wrong("source must be absolute path")
            }
            (VolumeKind::Host, Some(_)) => {
                if self.mode.is_some() || self.uid.is_some() || self.gid.is_some() {
                    wrong("mode, uid and gid belong to empty volumes only")
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// A place in an app's root where a volume appears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Name of the pod's volume.
    pub volume: AcName,
    /// Path in the app, or the name of one of the image's mount points.
    pub path: String,
    /// A volume of the app's own, in place of one of the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_volume: Option<Volume>,
}

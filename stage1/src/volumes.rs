//! Which volume appears where in which app.
//!
//! Responsible for: the effective mounts of an app, implicit volumes included, and what of the host each volume shows.
//! Must not know: how a volume gets into the VM. Follows rkt-reference 6.5.

use std::path::{Path, PathBuf};

use appc::{AcName, App, Mount, MountPoint, PodManifest, Volume, VolumeKind};

/// Why the volumes and mount points of an app do not fit together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// A mount names a volume that the pod does not have.
    #[error("could not find volume {0:?}")]
    NotFound(String),
    /// A mount's path is neither a path nor one of the image's mount points.
    #[error(
        "mount of volume {volume:?}: {path:?} is neither an absolute path nor a mount point of the image"
    )]
    BadTarget {
        /// The volume.
        volume: String,
        /// What was given.
        path: String,
    },
    /// The volume's description contradicts itself.
    #[error("volume {0:?} is malformed")]
    Malformed(String),
}

/// A volume as the VM's file server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedVolume {
    /// Its directory below `volumes/`; unique in the pod.
    pub name: String,
    /// What it shows.
    pub source: VolumeSource,
    /// No app may write to it, so the host refuses writes as well.
    pub read_only: bool,
}

/// Where a volume's files are on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An existing file or directory.
    Host {
        /// Absolute path; symbolic links in it are followed.
        path: PathBuf,
        /// Show what is mounted below it as well.
        recursive: bool,
    },
    /// A directory that lives as long as the pod.
    Empty {
        /// Its name below the pod's `sharedVolumes`.
        directory: String,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// What it starts with; owner and mode then come from there.
        content: Option<ImageContent>,
        /// It is one app's alone, or of several that brought it, and goes with the last of them.
        of_app: bool,
    },
}

impl SharedVolume {
    /// The directory of an empty volume that is one app's alone.
    pub fn directory_of_app(&self) -> Option<&str> {
        match &self.source {
            VolumeSource::Empty { directory, of_app: true, .. } => Some(directory),
            _ => None,
        }
    }

    /// The directory of any empty volume.
    pub fn directory(&self) -> Option<&str> {
        match &self.source {
            VolumeSource::Empty { directory, .. } => Some(directory),
            VolumeSource::Host { .. } => None,
        }
    }
}

/// What an image holds at a mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageContent {
    /// The app whose root file system it is in.
    pub app: String,
    /// Absolute path there.
    pub path: String,
}

/// A volume in an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppMount {
    /// The volume; `read_only` speaks of this mount.
    pub volume: SharedVolume,
    /// Absolute path in the app.
    pub target: String,
}

/// The mounts of one app, in order, and what its user should know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppMounts {
    /// The mounts.
    pub mounts: Vec<AppMount>,
    /// Warnings, without prefix.
    pub warnings: Vec<String>,
}

const DEFAULT_EMPTY_MODE: u32 = 0o755;

/// Volumes of the host's that a pod's apps may mount, now or later.
pub fn of_host(pod: &PodManifest) -> Vec<SharedVolume> {
    let volumes = pod.volumes.iter().filter(|volume| volume.kind == VolumeKind::Host);
    let shared = volumes.filter_map(|volume| {
        // One that is malformed is refused with the app that mounts it.
        share(volume.name.to_string(), String::new(), volume, volume.read_only == Some(true), false).ok()
    });
    shared.collect()
}

fn share(
    name: String,
    directory: String,
    volume: &Volume,
    read_only: bool,
    of_app: bool,
) -> Result<SharedVolume, VolumeError> {
    let malformed = || VolumeError::Malformed(volume.name.to_string());
    let source = match volume.kind {
        VolumeKind::Host => VolumeSource::Host {
            path: volume.source.as_ref().filter(|path| path.starts_with('/')).ok_or_else(malformed)?.into(),
            recursive: volume.recursive.unwrap_or(true),
        },
        VolumeKind::Empty => VolumeSource::Empty {
            directory,
            mode: match &volume.mode {
                Some(mode) => u32::from_str_radix(mode, 8).map_err(|_| malformed())?,
                None => DEFAULT_EMPTY_MODE,
            },
            uid: volume.uid.unwrap_or(0),
            gid: volume.gid.unwrap_or(0),
            content: None,
            of_app,
        },
    };
    Ok(SharedVolume { name, source, read_only })
}

fn target(mount: &Mount, mount_points: &[MountPoint]) -> Result<String, VolumeError> {
    let bad = || VolumeError::BadTarget { volume: mount.volume.to_string(), path: mount.path.clone() };
    if mount.path.starts_with('/') {
        return Ok(mount.path.clone());
    }
    let named = mount_points.iter().find(|point| point.name.as_str() == mount.path).ok_or_else(bad)?;
    Some(named.path.clone()).filter(|path| path.starts_with('/')).ok_or_else(bad)
}

/// Decides which volumes the app sees where: its explicit mounts, then a volume for every mount point they leave
/// uncovered, the pod's volume of that name or else a new, empty one, which images converted from docker's fill.
pub fn mounts(
    app_name: &AcName,
    app: &App,
    explicit: &[Mount],
    pod_volumes: &[Volume],
    converted: bool,
) -> Result<AppMounts, VolumeError> {
    let mut result = AppMounts::default();
    for mount in explicit {
        let volume = match &mount.app_volume {
            Some(volume) => volume,
            None => pod_volumes
                .iter()
                .find(|volume| volume.name == mount.volume)
                .ok_or_else(|| VolumeError::NotFound(mount.volume.to_string()))?,
        };
        let of_point = app
            .mount_points
            .iter()
            .find(|point| point.name == volume.name)
            .is_some_and(|point| point.read_only);
        let (name, of_pod) = match &mount.app_volume {
            Some(volume) => name_of_own(app_name, volume, pod_volumes),
            None => (volume.name.to_string(), true),
        };
        let read_only = volume.read_only.unwrap_or(of_point);
        let volume = share(name.clone(), name, volume, read_only, !of_pod)?;
        result.mounts.push(AppMount { volume, target: target(mount, &app.mount_points)? });
    }
    for point in &app.mount_points {
        if result.mounts.iter().any(|mount| mount.target == point.path) {
            continue;
        }
        if !point.path.starts_with('/') {
            return Err(VolumeError::BadTarget { volume: point.name.to_string(), path: point.path.clone() });
        }
        let volume = match pod_volumes.iter().find(|volume| volume.name == point.name) {
            Some(volume) => {
                let name = volume.name.to_string();
                share(name.clone(), name, volume, volume.read_only.unwrap_or(point.read_only), false)?
            }
            None => {
                result.warnings.push(format!(
                    "warning: no volume specified for mount point \"{}\", implicitly creating an \"empty\" volume. \
                     This volume will be removed when the pod is garbage-collected.",
                    point.name
                ));
                let content = converted.then(|| {
                    result.warnings.push(format!(
                        "Docker converted image, initializing implicit volume with data contained at the mount \
                         point \"{}\".",
                        point.name
                    ));
                    ImageContent { app: app_name.to_string(), path: point.path.clone() }
                });
                SharedVolume {
                    // Nor can it be mistaken for a volume of the app's that has the mount point's name.
                    name: format!("{app_name}..{}", point.name),
                    source: VolumeSource::Empty {
                        directory: format!("{app_name}-{}", point.name),
                        mode: DEFAULT_EMPTY_MODE,
                        uid: 0,
                        gid: 0,
                        content,
                        of_app: true,
                    },
                    read_only: point.read_only,
                }
            }
        };
        result.mounts.push(AppMount { volume, target: point.path.clone() });
    }
    // Whatever order they were given in, one below another's target comes after it, or it could not be seen.
    result.mounts.sort_by(|one, other| Path::new(&one.target).cmp(Path::new(&other.target)));
    Ok(result)
}

/// The name of a volume that came with an app, and whether it is the pod's as well. Apps that bring an empty volume of the same name
/// share it, with each other and with those that mount the pod's. A dot is in no name of the schema, so that any other cannot
/// be mistaken for one of the pod's.
fn name_of_own(app: &AcName, own: &Volume, pod_volumes: &[Volume]) -> (String, bool) {
    let of_pod = pod_volumes.iter().find(|volume| volume.name == own.name);
    match (own.kind, of_pod.map(|volume| volume.kind)) {
        (VolumeKind::Empty, None) => (own.name.to_string(), false),
        (VolumeKind::Empty, Some(VolumeKind::Empty)) => (own.name.to_string(), true),
        (VolumeKind::Empty, Some(VolumeKind::Host)) | (VolumeKind::Host, _) => {
            (format!("{app}.{}", own.name), false)
        }
    }
}

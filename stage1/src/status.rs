//! What other rkt commands read about a running pod.
//!
//! Responsible for: `pid`, `flavor`, `subcgroup`, `runtime-config`, `net-info.json`, `phases.json`, `rkt/status/APP`, `rkt/env/APP`,
//! `rkt/supervisor-status`. Must not know: when; the supervisor does. Follows rkt-reference 2.2 and 4.3.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::fault;
use crate::{groups, pod_directory};

/// A record that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct StatusError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Writes a file so that readers see all of it or nothing. `temporary` is on the same file system, but not in the
/// directories of per-app files, which others list for the apps' names.
fn write(temporary: PathBuf, path: PathBuf, content: &str) -> Result<(), StatusError> {
    let attempt = || {
        fs::write(&temporary, content)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644))?;
        fault::point("status.file.written");
        fs::rename(&temporary, &path)
    };
    attempt().map_err(|cause| StatusError { path, cause })
}

fn in_stage1() -> PathBuf {
    pod_directory::stage1("rkt/.new")
}

fn in_pod() -> PathBuf {
    PathBuf::from(".new")
}

fn link(path: PathBuf, text: &str) -> Result<(), StatusError> {
    match symlink(text, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(|cause| StatusError { path, cause }),
    }
}

/// Writes what is known before the VM starts, last of all `pid`: the supervisor's own, and the pod's start time. A pod without a control
/// group is in this process's.
pub fn pod_starts(
    environment_files: &[(String, String)],
    runtime_config: &str,
    group: Option<&Path>,
) -> Result<(), StatusError> {
    link(PathBuf::from("flavor"), "kvm")?;
    for (app, content) in environment_files {
        environment(app, content)?;
    }
    write(in_pod(), PathBuf::from("runtime-config"), runtime_config)?;
    fault::point("status.environment.written");
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group.and_then(Path::to_str).or_else(|| groups::path_of_process(&groups));
    if let Some(path) = group {
        write(in_pod(), PathBuf::from("subcgroup"), path)?;
    }
    write(in_pod(), PathBuf::from("pid"), &format!("{}\n", std::process::id()))?;
    fault::point("status.pid.written");
    Ok(())
}

/// Writes what stage0 lists of the pod's networks.
pub fn networks(content: &str) -> Result<(), StatusError> {
    write(in_pod(), PathBuf::from("net-info.json"), content)
}

/// Writes how far the pod came.
pub fn phases(content: &str) -> Result<(), StatusError> {
    write(in_pod(), PathBuf::from("phases.json"), content)
}

/// Writes an app's environment.
pub fn environment(app: &str, content: &str) -> Result<(), StatusError> {
    write(in_stage1(), pod_directory::stage1("rkt/env").join(app), content)
}

/// Every app was started.
pub fn pod_is_ready() -> Result<(), StatusError> {
    link(pod_directory::stage1("rkt/supervisor-status"), "ready")?;
    fault::point("status.ready.linked");
    Ok(())
}

/// The app has ended.
pub fn app_ended(app: &str, status: u8) -> Result<(), StatusError> {
    write(in_stage1(), pod_directory::stage1("rkt/status").join(app), &format!("{status}\n"))?;
    fault::point("status.app.written");
    Ok(())
}

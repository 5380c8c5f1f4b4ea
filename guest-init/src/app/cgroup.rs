//! The control group of an app: the one handle on all its processes, whatever sessions and parents they have made up.
//!
//! Responsible for: a directory per app, joining it, listing what is in it. Must not know: limits. Follows the
//! kernel's Documentation/admin-guide/cgroup-v2.rst (`cgroup.procs`).

use std::fs;
use std::io;
use std::path::PathBuf;

use guest_api::AppId;

use crate::InitError;
use crate::mounts::APP_CGROUPS;

/// Creates the app's group.
pub fn create(app: AppId, name: &str) -> Result<(), InitError> {
    fs::create_dir(directory(app))
        .map_err(InitError::kernel(format!("create a control group for app {name:?}")))
}

/// Moves the calling process into the app's group.
pub fn join(app: AppId) -> io::Result<()> {
    // "0" means the writer.
    fs::write(directory(app).join("cgroup.procs"), "0")
}

/// Process IDs of everything in the app's group.
pub fn processes(app: AppId) -> io::Result<Vec<i32>> {
    let list = fs::read_to_string(directory(app).join("cgroup.procs"))?;
    Ok(list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect())
}

/// Named by number: a name could be spelled like one of the kernel's own files.
fn directory(app: AppId) -> PathBuf {
    PathBuf::from(APP_CGROUPS).join(app.0.to_string())
}

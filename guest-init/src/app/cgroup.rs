//! The control group of an app: the one handle on all its processes, whatever sessions and parents they have made up.
//!
//! Responsible for: a directory per app with its limits, joining it, listing what is in it. Must not know: where limits come
//! from. Follows the kernel's Documentation/admin-guide/cgroup-v2.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use guest_api::{AppId, Isolation};

use crate::InitError;
use crate::mounts::{APP_CGROUPS, CGROUPS};

/// What the apps' groups can limit.
const CONTROLLERS: &str = "+cpu +memory +pids";

/// The time in which a share of the processors is used up or not, in microseconds: the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// The shortest time the kernel limits processes to.
const MIN_CPU_QUOTA_US: u64 = 1_000;

/// Processes and threads that an app may have, in percent of what the VM can have: systemd's default (TasksMax=).
const TASKS_PERCENT: u64 = 15;

/// What all apps may have together. The rest is for what PID 1 starts: a command in an app must be possible whatever the apps
/// do, and joins the app's group when it exists.
const ALL_TASKS_PERCENT: u64 = 90;

/// Lets the apps' groups have limits, and limits what all of them have together.
pub fn enable_controllers() -> Result<(), InitError> {
    for directory in [Path::new(CGROUPS), Path::new(APP_CGROUPS)] {
        fs::write(directory.join("cgroup.subtree_control"), CONTROLLERS)
            .map_err(InitError::kernel("enable the control groups' controllers"))?;
    }
    let tasks = tasks(ALL_TASKS_PERCENT)?.to_string();
    fs::write(Path::new(APP_CGROUPS).join("pids.max"), tasks).map_err(InitError::kernel("limit all apps"))
}

/// A share of the processes and threads that the VM can have.
fn tasks(percent: u64) -> Result<u64, InitError> {
    let limit = |file: &str| -> Result<u64, InitError> {
        let read = fs::read_to_string(Path::new("/proc/sys/kernel").join(file));
        let text = read.map_err(InitError::kernel(format!("read {file}")))?;
        let wrong =
            |_| InitError::kernel(format!("read {file}"))(io::Error::from(io::ErrorKind::InvalidData));
        text.trim().parse().map_err(wrong)
    };
    Ok(limit("threads-max")?.min(limit("pid_max")?).saturating_mul(percent) / 100)
}

/// Creates the app's group.
pub fn create(app: AppId, name: &str, isolation: &Isolation) -> Result<(), InitError> {
    fs::create_dir(directory(app))
        .map_err(InitError::kernel(format!("create a control group for app {name:?}")))?;
    let tasks = [("pids.max", tasks(TASKS_PERCENT)?.to_string())];
    limits(isolation).into_iter().chain(tasks).try_for_each(|(file, value)| {
        fs::write(directory(app).join(file), &value)
            .map_err(InitError::kernel(format!("limit app {name:?}: write {value:?} to {file}")))
    })
}

/// Files of a group and what to write to them.
pub fn limits(isolation: &Isolation) -> Vec<(&'static str, String)> {
    let quota = |milli: u64| (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(MIN_CPU_QUOTA_US);
    let memory = isolation.memory_bytes.map(|bytes| ("memory.max", bytes.to_string()));
    let cpu = isolation.cpu_milli.map(|milli| ("cpu.max", format!("{} {CPU_PERIOD_US}", quota(milli))));
    let weight = isolation.cpu_weight.map(|weight| ("cpu.weight", weight.to_string()));
    [memory, cpu, weight].into_iter().flatten().collect()
}

/// Moves the calling process into the app's group.
pub fn join(app: AppId) -> io::Result<()> {
    // "0" means the writer.
    fs::write(directory(app).join("cgroup.procs"), "0")
}

/// Sends SIGKILL to everything in the app's group, and to what its processes are making at this moment.
pub fn kill(app: AppId) -> io::Result<()> {
    tolerate_missing(fs::write(directory(app).join("cgroup.kill"), "1"))
}

/// Removes the app's group, in which nobody is left.
pub fn remove(app: AppId) -> io::Result<()> {
    tolerate_missing(fs::remove_dir(directory(app)))
}

/// An app whose start failed early has no group.
fn tolerate_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Process IDs of everything in the app's group; nobody is in one that there is not.
pub fn processes(app: AppId) -> io::Result<Vec<i32>> {
    let list = match fs::read_to_string(directory(app).join("cgroup.procs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list?,
    };
    Ok(list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect())
}

/// Whether the process is there and does not belong to the app.
pub fn is_of_another_app(app: AppId, pid: i32) -> bool {
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup"));
    group.is_ok_and(|list| !is_in(app, &list))
}

/// Whether this is the content of /proc/PID/cgroup of a process in the app's group, or below it.
pub fn is_in(app: AppId, list: &str) -> bool {
    let group = format!("/apps/{}", app.0);
    let path = list.lines().find_map(|line| line.strip_prefix("0::"));
    path.and_then(|path| path.strip_prefix(&group))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// How many processes of the app the kernel has killed for want of memory, here or because the whole VM had none left.
pub fn out_of_memory_kills(app: AppId) -> u64 {
    let events = fs::read_to_string(directory(app).join("memory.events")).unwrap_or_default();
    oom_kills_in(&events)
}

/// The count in a file memory.events.
pub fn oom_kills_in(events: &str) -> u64 {
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Named by number: a name could be spelled like one of the kernel's own files.
fn directory(app: AppId) -> PathBuf {
    PathBuf::from(APP_CGROUPS).join(app.0.to_string())
}

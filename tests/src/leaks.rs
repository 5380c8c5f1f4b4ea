//! Finds what pods leave behind on the host: mounts, processes, sockets, cgroups and network links. Looks at the whole
//! system through /proc and /sys and filters by a directory (a test's own) or by a pod's UUID, so that tests can run side
//! by side.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// How long teardown that goes on in the background may take.
const SETTLING: Duration = Duration::from_secs(10);

/// Everything mounted, running or listening below `directory`, after a moment's patience for processes that are ending.
pub fn below(directory: &Path) -> Vec<String> {
    settle(|| {
        let text = directory.to_string_lossy().into_owned();
        let mut found = mounts(&text);
        found.extend(processes(&text).into_iter().map(|(_, what)| what));
        found.extend(sockets(&text));
        found
    })
}

/// Everything that carries the pod's UUID in its name, its working directory, its executable or its arguments.
pub fn of_pod(uuid: &str) -> Vec<String> {
    settle(|| {
        let mut found = mounts(uuid);
        found.extend(processes(uuid).into_iter().map(|(_, what)| what));
        found.extend(sockets(uuid));
        found.extend(groups(uuid));
        found
    })
}

/// The control groups that carry the pod's UUID in their names.
pub fn cgroups_of(uuid: &str) -> Vec<String> {
    settle(|| groups(uuid))
}

fn groups(uuid: &str) -> Vec<String> {
    let ours = |name: &&String| name.contains(uuid) || name.contains(&uuid.replace('-', "\\x2d"));
    cgroups().iter().filter(ours).map(|name| format!("cgroup {name}")).collect()
}

/// What the whole host has of the kinds of things that pods use. Only for tests that nothing else runs beside.
#[derive(Debug)]
pub struct Host(BTreeSet<String>);

impl Host {
    /// The host as it is.
    pub fn now() -> Self {
        let mut found: BTreeSet<String> = mounts("").into_iter().chain(sockets("/")).collect();
        found.extend(cgroups().into_iter().map(|name| format!("cgroup {name}")));
        found.extend(links().into_iter().map(|name| format!("link {name}")));
        found.extend(network_namespaces());
        Self(found)
    }

    /// What there is now and was not then, after a moment's patience.
    pub fn left(&self) -> Vec<String> {
        settle(|| Self::now().0.difference(&self.0).cloned().collect())
    }
}

/// The network name spaces that processes are in.
fn network_namespaces() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Kills and unmounts whatever is left below `directory`, so that a failed test cannot disturb the next.
pub fn end(directory: &Path) {
    let text = directory.to_string_lossy().into_owned();
    for (pid, _) in processes(&text) {
        let _ = signal::kill(pid, Signal::SIGKILL);
    }
    let mut points = mount_points(&text);
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let _ = umount2(point.as_str(), MntFlags::MNT_DETACH);
    }
}

/// The processes that have `text` in their executable's path, working directory or arguments.
pub fn processes(text: &str) -> Vec<(Pid, String)> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| process(pid, text)).collect()
}

fn process(pid: u32, text: &str) -> Option<(Pid, String)> {
    let link = |name: &str| {
        fs::read_link(format!("/proc/{pid}/{name}"))
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let (executable, directory) = (link("exe"), link("cwd"));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    // A zombie holds nothing any more; it is its parent's to reap.
    let zombie = status.lines().any(|line| line.starts_with("State:") && line.contains('Z'));
    let matches = [&arguments, &executable, &directory].iter().any(|value| value.contains(text));
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    (matches && !zombie).then(|| (pid, format!("process {pid}: {executable} ({})", arguments.trim())))
}

fn mounts(text: &str) -> Vec<String> {
    mount_points(text).into_iter().map(|point| format!("mount {point}")).collect()
}

/// The mount points at or below a directory.
pub fn mounts_below(directory: &Path) -> Vec<String> {
    mount_points(&directory.to_string_lossy())
}

/// Mount points whose path contains `text` (proc(5), mountinfo: the fifth field).
fn mount_points(text: &str) -> Vec<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.contains(text)).map(str::to_owned).collect()
}

fn sockets(text: &str) -> Vec<String> {
    let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let paths = list.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.contains(text)).map(|path| format!("socket {path}")).collect()
}

/// Unmounts everything below a directory, as a reboot does.
///
/// # Panics
/// When something is in use.
pub fn unmount_below(directory: &Path) {
    let mut mounts = mounts_below(directory);
    mounts.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in mounts {
        umount2(point.as_str(), MntFlags::empty()).expect("nobody uses it");
    }
}

/// Every cgroup, of every hierarchy.
pub fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![Path::new("/sys/fs/cgroup").to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.path().to_string_lossy().into_owned());
                left.push(entry.path());
            }
        }
    }
    found
}

/// Every network link of this network namespace.
pub fn links() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Looks until nothing is found or patience ends.
fn settle(look: impl Fn() -> Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let found = look();
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

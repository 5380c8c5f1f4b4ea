//! The pod's control groups on the host.
//!
//! Responsible for: where they are, making them with their limits before any process of the pod, what they count, and removing them.
//! Must not know: which processes those are, and where limits come from (`limits`). Follows cgroups(7), cgroup-v2.rst,
//! rkt-reference 6.12; docs/machine.md, "What a pod may take of its host".
//!
//! The supervisor is in none of them: it stays where rkt was started. Their names follow from the pod's, and where they are is written
//! down in the pod's directory before the first one is made, so that gc finds them whoever died.

mod disks;
pub mod hierarchies;
pub mod limits;
mod parent;
mod removal;

#[cfg(test)]
mod disks_test;
#[cfg(test)]
mod groups_test;
#[cfg(test)]
mod hierarchies_test;
#[cfg(test)]
mod limits_test;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use uuid::Uuid;

use crate::fault;
use crate::jail::Demand;
use crate::process::Place;
use hierarchies::{Controller, Hierarchy, Version};
use limits::Limits;

pub use removal::remove;

/// In the pod's directory: the directory of each group, a line each.
const RECORD: &str = "cgroups";

/// The period in which a share of time is counted, in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;

/// In the second version, the limits are those of a group that no process is in, and all are in this one in it: nobody who does not know of it
/// can take its controllers from it then, as systemd does with those that it sees no use of.
const LEAF: &str = "processes";

/// The pod has no group, and may not run without.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// None could be made.
    #[error("cannot confine the pod: {0} failed")]
    Lacking(&'static str, #[source] io::Error),
    /// Where it is could not be written down, or not be forgotten.
    #[error("cannot write or remove {RECORD}")]
    Record(#[source] io::Error),
    /// One that is there could not be removed.
    #[error("cannot remove the control group {}", path.display())]
    Removal {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// One of the pod's groups.
#[derive(Debug)]
struct Group {
    version: Version,
    directory: PathBuf,
    /// Below its hierarchy.
    path: PathBuf,
    controllers: Vec<Controller>,
}

impl Group {
    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), value)
    }

    /// Of a kernel that does not count swap.
    fn set_if_there(&self, file: &str, value: &str) -> io::Result<()> {
        match self.set(file, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn get(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok()
    }
}

/// The pod's groups, one in each hierarchy. They are removed when this value goes.
#[derive(Debug)]
pub struct Groups {
    uuid: Uuid,
    groups: Vec<Group>,
    missing: Vec<&'static str>,
    limits: Limits,
}

/// The name of a pod's group: what machined's scope is called.
pub fn name_of(uuid: Uuid) -> String {
    format!("machine-rkt\\x2d{}.scope", uuid.to_string().replace('-', "\\x2d"))
}

/// What a wall is called that is not there.
fn wall(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "a control group for memory",
        Controller::Cpu => "a control group for processors",
        Controller::Pids => "a control group for processes",
        Controller::Io => "a control group for disks",
    }
}

impl Groups {
    /// Makes groups on this host for the pod in `directory`, whose files are below `paths` as well.
    pub fn make(
        directory: &Path,
        uuid: Uuid,
        limits: Limits,
        paths: &[&Path],
        demand: Demand,
    ) -> Result<Self, GroupError> {
        let paths: Vec<&Path> = paths.iter().copied().chain([directory]).collect();
        let mut made = Self { uuid, groups: Vec::new(), missing: Vec::new(), limits };
        let mut planned = Vec::new();
        let mut failure = None;
        for hierarchy in hierarchies::of_host() {
            match parent::of(&hierarchy) {
                Ok(parent) => planned.push((hierarchy, parent.join(name_of(uuid)))),
                Err(cause) => failure = Some(cause),
            }
        }
        let record: String = planned.iter().map(|(_, path)| format!("{}\n", path.display())).collect();
        fs::write(directory.join(RECORD), record).map_err(GroupError::Record)?;
        fault::point("groups.recorded");
        for (hierarchy, directory) in planned {
            match made.make_one(hierarchy, directory, &paths) {
                Ok(()) => {}
                Err(cause) => failure = Some(cause),
            }
            fault::point("groups.made");
        }
        let there: BTreeSet<Controller> =
            made.groups.iter().flat_map(|group| group.controllers.iter().copied()).collect();
        let lacking = made.wanted().into_iter().filter(|controller| !there.contains(controller));
        made.missing = lacking.map(wall).collect();
        match (made.missing.first(), demand) {
            (Some(wall), Demand::Everything) => {
                let cause = failure.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
                Err(GroupError::Lacking(wall, cause))
            }
            _ => Ok(made),
        }
    }

    /// What every pod is limited in, and what this one is.
    fn wanted(&self) -> Vec<Controller> {
        let limits = &self.limits;
        let mut wanted = vec![Controller::Memory, Controller::Pids];
        if limits.cpu_milli.or(limits.cpu_shares).is_some() {
            wanted.push(Controller::Cpu);
        }
        if limits.bytes_per_second.or(limits.operations_per_second).is_some() {
            wanted.push(Controller::Io);
        }
        wanted
    }

    fn make_one(&mut self, hierarchy: Hierarchy, directory: PathBuf, paths: &[&Path]) -> io::Result<()> {
        let Hierarchy { version, mount, controllers, .. } = hierarchy;
        fs::create_dir(&directory)?;
        let path = directory.strip_prefix(&mount).unwrap_or(&directory).to_owned();
        let mut group = Group { version, directory, path, controllers };
        let mut failure = None;
        if version == Version::Two {
            let enabled = group.get("cgroup.controllers").unwrap_or_default();
            let is_there = |one: &Controller| enabled.split_whitespace().any(|it| it == one.name(version));
            group.controllers.retain(is_there);
        }
        let controllers = std::mem::take(&mut group.controllers);
        for controller in controllers {
            match self.limit(&group, controller, paths) {
                Ok(()) => group.controllers.push(controller),
                Err(cause) => failure = Some(cause),
            }
        }
        if version == Version::Two
            && let Err(cause) = self.divide(&group)
        {
            // What is wrong here is told as what is lacking.
            let _ = removal::attempt(&group.directory);
            return Err(cause);
        }
        self.groups.push(group);
        failure.map_or(Ok(()), Err)
    }

    /// Makes the group in the group that processes are in.
    fn divide(&self, group: &Group) -> io::Result<()> {
        // What limits nothing costs the kernel work in each of them.
        let wanted = self.wanted();
        let passed: Vec<Controller> =
            group.controllers.iter().copied().filter(|one| wanted.contains(one)).collect();
        parent::enable(&group.directory, &passed)?;
        fs::create_dir(group.directory.join(LEAF))
    }

    /// Puts what is in force from the beginning in force.
    fn limit(&self, group: &Group, controller: Controller, paths: &[&Path]) -> io::Result<()> {
        let limits = &self.limits;
        match (controller, group.version) {
            (Controller::Memory, Version::One) => {
                let most = limits.memory_max.to_string();
                group.set("memory.limit_in_bytes", &most)?;
                group.set_if_there("memory.memsw.limit_in_bytes", &most)
            }
            (Controller::Memory, Version::Two) => {
                group.set("memory.high", &limits.memory_high.to_string())?;
                group.set("memory.max", &limits.memory_max.to_string())?;
                group.set_if_there("memory.swap.max", "0")
            }
            (Controller::Pids, _) => group.set("pids.max", &limits.threads.to_string()),
            (Controller::Cpu, version) => match limits.cpu_shares {
                None => Ok(()),
                Some(shares) if version == Version::One => group.set("cpu.shares", &shares.to_string()),
                Some(shares) => group.set("cpu.weight", &weight(shares).to_string()),
            },
            (Controller::Io, version) => {
                let bandwidth = limits.bytes_per_second;
                let operations = limits.operations_per_second;
                if bandwidth.or(operations).is_none() {
                    return Ok(());
                }
                let disks = disks::of(paths.iter().copied());
                if disks.is_empty() {
                    return Err(io::Error::other("the pod's files are on no disk"));
                }
                disks.iter().try_for_each(|disk| limit_disk(group, version, disk, bandwidth, operations))
            }
        }
    }

    /// Limits the time of processors. It is not in force while the guest boots, which is work of our own and not the apps'.
    pub fn limit_processors(&self) {
        let Some(milli) = self.limits.cpu_milli else { return };
        let quota = milli.saturating_mul(CPU_PERIOD) / 1000;
        for group in self.groups.iter().filter(|group| group.controllers.contains(&Controller::Cpu)) {
            // The file is there, or the controller would not be among those of the group.
            let _ = match group.version {
                Version::One => group
                    .set("cpu.cfs_period_us", &CPU_PERIOD.to_string())
                    .and_then(|()| group.set("cpu.cfs_quota_us", &quota.to_string())),
                Version::Two => group.set("cpu.max", &format!("{quota} {CPU_PERIOD}")),
            };
        }
    }

    /// Where the pod's processes begin.
    pub fn place(&self) -> io::Result<Place> {
        let mut place = Place::default();
        for group in &self.groups {
            match group.version {
                // One thread at a time, itself, can enter without the whole host's having to hold still.
                Version::One => {
                    let tasks = File::options().write(true).open(group.directory.join("tasks"))?;
                    place.tasks.push(Arc::new(tasks));
                }
                Version::Two => {
                    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let leaf = rustix::fs::open(group.directory.join(LEAF), flags, Mode::empty())?;
                    place.unified = Some(Arc::new(leaf));
                }
            }
        }
        Ok(place)
    }

    /// The pod's group below its hierarchy: systemd's where the first version is mounted.
    pub fn path(&self) -> Option<&Path> {
        let systemds = |group: &&Group| group.version == Version::One && group.controllers.is_empty();
        let unified = |group: &&Group| group.version == Version::Two;
        let groups = || self.groups.iter();
        let one = groups().find(systemds).or_else(|| groups().find(unified)).or_else(|| groups().next());
        one.map(|group| group.path.as_path())
    }

    /// What this host cannot limit.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    fn of(&self, controller: Controller) -> Option<&Group> {
        self.groups.iter().find(|group| group.controllers.contains(&controller))
    }

    /// Bytes of memory that the pod's processes take now, the guest's and that of files included, and how many they may take.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let group = self.of(Controller::Memory)?;
        let file = match group.version {
            Version::One => "memory.usage_in_bytes",
            Version::Two => "memory.current",
        };
        Some((group.get(file)?.trim().parse().ok()?, self.limits.memory_max))
    }

    /// Whether the kernel has killed one of them for want of memory below their limit; then the limit.
    pub fn ran_out_of_memory(&self) -> Option<u64> {
        let group = self.of(Controller::Memory)?;
        let events = match group.version {
            Version::One => group.get("memory.oom_control")?,
            Version::Two => group.get("memory.events")?,
        };
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        (killed?.trim() != "0").then_some(self.limits.memory_max)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        removal::remove_soon(self.uuid, self.groups.iter().map(|group| group.directory.clone()).collect());
    }
}

fn limit_disk(
    group: &Group,
    version: Version,
    disk: &str,
    bandwidth: Option<u64>,
    operations: Option<u64>,
) -> io::Result<()> {
    let pairs = |bytes: [&'static str; 2], times: [&'static str; 2]| {
        let bytes = bandwidth.into_iter().flat_map(move |limit| bytes.map(|key| (key, limit)));
        bytes.chain(operations.into_iter().flat_map(move |limit| times.map(|key| (key, limit))))
    };
    if version == Version::Two {
        let keys = pairs(["rbps", "wbps"], ["riops", "wiops"]);
        let keys: Vec<String> = keys.map(|(key, limit)| format!("{key}={limit}")).collect();
        return group.set("io.max", &format!("{disk} {}", keys.join(" ")));
    }
    let mut files = pairs(["read_bps", "write_bps"], ["read_iops", "write_iops"]);
    files.try_for_each(|(key, limit)| {
        group.set(&format!("blkio.throttle.{key}_device"), &format!("{disk} {limit}"))
    })
}

/// The weight in the second version for shares of the first, so that least, default and most of both meet: 2, 1024 and 262144 shares are
/// 1, 100 and 10000 (the conversion of runc and crun).
fn weight(shares: u64) -> u64 {
    let logarithm = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// The path of a process's group below the root of a hierarchy, from the content of its `/proc/PID/cgroup`: systemd's own where
/// the old hierarchies are mounted, else the only one.
pub fn path_of_process(text: &str) -> Option<&str> {
    let of = |controllers: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (found, path) = rest.split_once(':')?;
            (found == controllers).then(|| path.trim_start_matches('/'))
        })
    };
    of("name=systemd").or_else(|| of(""))
}

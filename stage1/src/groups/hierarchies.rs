//! Where this host has its control groups, and where in them this process is.
//!
//! Responsible for: finding every hierarchy that controls something, of either version. Must not know: what is done with groups there.
//! Follows cgroups(7), /proc/PID/cgroup, /proc/PID/mountinfo.

use std::fs;
use std::path::{Path, PathBuf};

/// Something that a control group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory, of the kernel's too.
    Memory,
    /// Time of processors.
    Cpu,
    /// Threads and processes.
    Pids,
    /// Block devices.
    Io,
}

impl Controller {
    /// All that pods are limited by.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Io];

    /// Its name in a version.
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Memory, _) => "memory",
            (Self::Cpu, _) => "cpu",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::One) => "blkio",
            (Self::Io, Version::Two) => "io",
        }
    }
}

/// The kernel's two designs of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    One,
    /// One for all of them, in whose inner groups no process is.
    Two,
}

/// One tree of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its design.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group of this process, below that.
    pub own: PathBuf,
    /// What it controls. A hierarchy of version 1 without is systemd's, which keeps processes together.
    pub controllers: Vec<Controller>,
}

/// Those of this host.
pub fn of_host() -> Vec<Hierarchy> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let controllers = |mount: &Path| fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    find(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"), controllers)
}

/// The same from what the files say. A controller belongs to one hierarchy: the second version has what the first has not.
pub fn find(groups: &str, mounts: &str, unified: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    let mut second = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (version, kind) =
            if names.is_empty() { (Version::Two, "cgroup2") } else { (Version::One, "cgroup") };
        let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        let controllers: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| names.contains(&controller.name(Version::One)))
            .collect();
        if version == Version::One && controllers.is_empty() && names != ["name=systemd"] {
            continue;
        }
        let mounted = mounts.lines().filter_map(Mount::parse).filter(|mount| mount.kind == kind);
        let mut those = mounted.filter(|mount| names.iter().all(|name| mount.has(name)));
        let here = those.find_map(|mount| Some((mount.own(path)?, mount.point)));
        let Some((own, mount)) = here else { continue };
        let hierarchy = Hierarchy { version, mount, own, controllers };
        if version == Version::One { found.push(hierarchy) } else { second = Some(hierarchy) }
    }
    if let Some(mut second) = second {
        let list = unified(&second.mount);
        let has = |controller: &Controller| {
            list.split_whitespace().any(|name| name == controller.name(Version::Two))
        };
        let elsewhere =
            |controller: &Controller| found.iter().any(|one| one.controllers.contains(controller));
        second.controllers = Controller::ALL.into_iter().filter(|one| has(one) && !elsewhere(one)).collect();
        if !second.controllers.is_empty() {
            found.push(second);
        }
    }
    found
}

/// A line of mountinfo.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (first, second) = line.split_once(" - ")?;
        let mut fields = first.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let mut fields = second.split(' ');
        let kind = fields.next()?;
        Some(Self { root: root.into(), point: point.into(), kind, options: fields.nth(1)? })
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }

    /// A group's place below this mount, which may show a part of its hierarchy only.
    fn own(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // Beyond the root of a name space, as `/..` says, nothing of ours is visible.
        let visible = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        visible.then(|| below.to_owned())
    }
}

/// mountinfo writes blanks and backslashes as octal numbers.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain + rest
}

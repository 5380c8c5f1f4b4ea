//! The memory that a pod's control group is charged with.
//!
//! Responsible for: finding the group by one of the pod's processes and the pod's name, in either version of control groups. Must not know:
//! who made it. Follows cgroups(7) and rkt-reference.md 6.12.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the groups of memory are, and what says how much: the first version, the second, the second beside the first.
const HIERARCHIES: [(&str, &str, &str); 3] = [
    ("memory", "/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
    ("", "/sys/fs/cgroup", "memory.current"),
    ("", "/sys/fs/cgroup/unified", "memory.current"),
];

/// Bytes that the group is charged with that the process is in and that has the pod's UUID in its name. None if it is in no such group.
pub fn memory(pid: i32, uuid: &str) -> Option<u64> {
    let list = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    HIERARCHIES.iter().find_map(|(controller, mount, file)| {
        let group = Path::new(mount).join(of_pod(&list, controller, uuid)?);
        fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
    })
}

/// The group's path below the root of its hierarchy. systemd escapes dashes in names.
fn of_pod(list: &str, controller: &str, uuid: &str) -> Option<PathBuf> {
    let line = list.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next()?.split(',').any(|one| one == controller).then(|| fields.next())?
    })?;
    let escaped = uuid.replace('-', "\\x2d");
    let mut groups = Path::new(line).ancestors();
    let own = groups.find(|group| {
        group
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.contains(uuid) || name.contains(&escaped))
    })?;
    own.strip_prefix("/").ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_the_one_of_the_pods_name() {
        let list = "4:memory:/a/machine-rkt\\x2d1\\x2d2.scope/vmm\n2:cpu,cpuacct:/x-1-2\n0::/b/1-2/inner\n";

        let found = |controller| of_pod(list, controller, "1-2");

        assert_eq!(found("memory"), Some(PathBuf::from("a/machine-rkt\\x2d1\\x2d2.scope")));
        assert_eq!(found("cpuacct"), Some(PathBuf::from("x-1-2")));
        assert_eq!(found(""), Some(PathBuf::from("b/1-2")));
        assert_eq!(found("pids"), None);
        assert_eq!(of_pod(list, "memory", "3-4"), None);
    }
}

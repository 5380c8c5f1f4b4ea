//! What a running pod costs the host in memory.
//!
//! Responsible for: the memory of the pod's processes, added up. Must not know: which processes a stage1 has, or why. Follows proc(5),
//! `smaps_rollup` and `stat`.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::cgroup;

/// Memory of all of a pod's processes on the host. For a virtual machine that is the guest's memory as far as it was used, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Bytes, each page that several processes share divided by their number.
    pss: u64,
    /// How many processes.
    processes: usize,
    /// Bytes that the pod's control group is charged with, files that the kernel keeps for it included. None if it has no group.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<u64>,
}

impl MemoryReport {
    /// Of the process of a pod of this UUID and all that descend from it. None if it has ended, or is not ours to look at.
    pub fn of(pid: i32, uuid: &str) -> Option<Self> {
        let processes = descendants(pid, &parents());
        // Those that end meanwhile cost nothing.
        let sizes: Vec<u64> = processes.iter().filter_map(|pid| proportional_set_size(*pid)).collect();
        (!sizes.is_empty()).then(|| MemoryReport {
            pss: sizes.iter().sum(),
            processes: sizes.len(),
            cgroup: processes.iter().find_map(|pid| cgroup::memory(*pid, uuid)),
        })
    }
}

/// The parent of every process.
fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The fourth field, behind the name in brackets, which may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(pid: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(child, its)| **its == parent && !found.contains(child));
        let children: Vec<i32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        next += 1;
    }
    found
}

fn proportional_set_size(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) 1 ) S 34 12 12 0"), Some(34));
        assert_eq!(parent("12 (a"), None);
    }

    #[test]
    fn children_of_children_count() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 6)]);

        assert_eq!(descendants(2, &parents), [2, 3, 4]);
        assert_eq!(descendants(6, &parents), [6]);
    }

    #[test]
    fn this_process_takes_memory() {
        let report = MemoryReport::of(std::process::id() as i32, "no-pod").unwrap();

        assert!(report.pss > 0 && report.processes >= 1, "{report:?}");
        assert_eq!(report.cgroup, None);
        assert_eq!(MemoryReport::of(i32::MAX, "no-pod"), None);
    }
}

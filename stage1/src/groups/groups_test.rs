use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::hierarchies::of_host;
use super::limits::Limits;
use super::{Groups, name_of, path_of_process, remove, weight};
use crate::jail::Demand;
use crate::process::{Company, End, spawn_in};

const LIMITS: Limits = Limits {
    memory_high: 100 << 20,
    memory_max: 128 << 20,
    threads: 50,
    cpu_milli: Some(500),
    cpu_shares: Some(512),
    bytes_per_second: None,
    operations_per_second: None,
};

/// Every place of this host that a group of the pod can be in.
fn places(uuid: Uuid) -> Vec<PathBuf> {
    let name = name_of(uuid);
    let parents = |mount: &Path, own: &Path| [mount.to_owned(), mount.join(own), mount.join("machine.slice")];
    let all = of_host().into_iter().flat_map(|one| parents(&one.mount, &one.own));
    all.map(|parent| parent.join(&name)).filter(|path| path.exists()).collect()
}

fn read(groups: &Groups, first: &str, second: &str) -> String {
    let found = groups.groups.iter().find_map(|group| group.get(first).or_else(|| group.get(second)));
    found.unwrap_or_else(|| panic!("neither {first} nor {second}")).trim().to_owned()
}

/// Groups of a pod, on a host where this user may make some; elsewhere there is nothing to see.
fn groups(directory: &Path, uuid: Uuid) -> Option<Groups> {
    let groups = Groups::make(directory, uuid, LIMITS, &[], Demand::WhatTheHostHas).unwrap();
    groups.missing().is_empty().then_some(groups)
}

#[test]
fn a_child_begins_in_groups_with_limits_and_nothing_is_left_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let uuid = Uuid::from_u128(0x1111_2222_3333_4444_0000_0000_0000_0000 | u128::from(std::process::id()));
    let Some(groups) = groups(directory.path(), uuid) else { return };

    let place = groups.place().unwrap();
    let work = || fs::read_to_string("/proc/self/cgroup").unwrap();
    let child = spawn_in(&place, "probe", Company::Nobody, &[], work).unwrap();
    groups.limit_processors();

    let End::Done(seen) = child.wait::<String>().unwrap() else { panic!("it has not told") };
    let within = seen.lines().filter(|line| line.contains(&name_of(uuid))).count();
    assert_eq!(within, groups.groups.len(), "{seen}");
    assert_eq!(read(&groups, "memory.limit_in_bytes", "memory.max"), LIMITS.memory_max.to_string());
    assert_eq!(read(&groups, "pids.max", "pids.max"), LIMITS.threads.to_string());
    assert!(read(&groups, "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert!(["512", "59"].contains(&read(&groups, "cpu.shares", "cpu.weight").as_str()));
    assert!(groups.memory().unwrap().0 <= LIMITS.memory_max);
    assert_eq!(groups.ran_out_of_memory(), None);
    assert!(groups.path().unwrap().ends_with(name_of(uuid)));
    assert!(!places(uuid).is_empty());
    drop(groups);
    assert_eq!(places(uuid), Vec::<PathBuf>::new());
}

#[test]
fn groups_whose_processes_live_on_are_removed_when_these_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    let uuid = Uuid::from_u128(0x1111_2222_3333_4445_0000_0000_0000_0000 | u128::from(std::process::id()));
    let Some(groups) = groups(directory.path(), uuid) else { return };
    let place = groups.place().unwrap();
    let work = || std::thread::sleep(std::time::Duration::from_secs(1000));
    let child = spawn_in(&place, "probe", Company::Host, &[], work).unwrap();

    // As if this process had been killed, too.
    std::mem::forget(groups);
    assert!(!places(uuid).is_empty());
    child.kill().unwrap();

    remove(directory.path(), uuid).unwrap();
    assert_eq!(places(uuid), Vec::<PathBuf>::new());
    remove(directory.path(), uuid).unwrap();
}

#[test]
fn a_process_that_takes_more_memory_than_its_group_may_is_killed_and_that_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let uuid = Uuid::from_u128(0x1111_2222_3333_4446_0000_0000_0000_0000 | u128::from(std::process::id()));
    let Some(groups) = groups(directory.path(), uuid) else { return };
    let place = groups.place().unwrap();
    let work = || {
        let bytes = std::hint::black_box(vec![1u8; 2 * LIMITS.memory_max as usize]);
        bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    };

    let child = spawn_in(&place, "probe", Company::Host, &[], work).unwrap();

    assert_eq!(child.wait::<u64>().unwrap(), End::Killed(libc::SIGKILL));
    assert_eq!(groups.ran_out_of_memory(), Some(LIMITS.memory_max));
}

#[test]
fn a_record_of_other_groups_removes_none_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(directory.path().join("cgroups"), format!("{}\n", other.display())).unwrap();

    remove(directory.path(), Uuid::from_u128(7)).unwrap();

    assert!(other.exists());
}

#[test]
fn least_default_and_most_of_shares_and_weights_are_the_same() {
    assert_eq!([2, 512, 1024, 262_144, 1 << 40].map(weight), [1, 59, 100, 10_000, 10_000]);
}

#[test]
fn path_of_a_process_is_that_of_the_one_hierarchy_or_of_systemds() {
    let text = "9:name=systemd:/user.slice/session-1.scope\n8:memory:/elsewhere\n0::/\n";

    assert_eq!(path_of_process("0::/machine.slice/web.service\n"), Some("machine.slice/web.service"));
    assert_eq!(path_of_process(text), Some("user.slice/session-1.scope"));
    assert_eq!(path_of_process("0::/a:b/c\n"), Some("a:b/c"));
    assert_eq!(path_of_process(""), None);
    assert_eq!(path_of_process("garbage"), None);
}

use std::path::Path;

use super::hierarchies::{Controller, Version, find};

const FIRST: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
    35 31 0:32 /box /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
    38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n\
    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

const OF_FIRST: &str = "9:name=systemd:/user.slice\n7:blkio:/\n5:devices:/\n4:memory:/box/run\n\
    2:cpu,cpuacct:/a\\x2db\n0::/user.slice\n";

fn none(_: &Path) -> String {
    String::new()
}

#[test]
fn each_controller_of_the_first_version_has_a_hierarchy_and_systemds_has_none() {
    let found = find(OF_FIRST, FIRST, none);

    let seen: Vec<_> =
        found.iter().map(|one| (one.mount.to_str().unwrap(), one.own.to_str().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("/sys/fs/cgroup/systemd", "user.slice"),
            ("/sys/fs/cgroup/blkio", ""),
            ("/sys/fs/cgroup/memory", "run"),
            ("/sys/fs/cgroup/cpu,cpuacct", "a\\x2db"),
        ]
    );
    assert!(found.iter().all(|one| one.version == Version::One));
    assert_eq!(found[0].controllers, []);
    assert_eq!(found[3].controllers, [Controller::Cpu]);
}

#[test]
fn the_second_version_has_what_the_first_has_not() {
    let both = find(OF_FIRST, FIRST, |_| "cpuset cpu memory pids\n".to_owned());
    let alone = find(
        "0::/system.slice/a b.service\n",
        "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        |_| "cpu io memory pids\n".to_owned(),
    );

    assert_eq!(both.last().unwrap().version, Version::Two);
    assert_eq!(both.last().unwrap().controllers, [Controller::Pids]);
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0].controllers, Controller::ALL);
    assert_eq!(alone[0].own, Path::new("system.slice/a b.service"));
}

#[test]
fn a_hierarchy_that_shows_nothing_of_this_process_is_none() {
    let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n35 31 0:32 /x\\040y /m rw - cgroup c rw,memory\n";
    let list = |_: &Path| "memory".to_owned();

    assert_eq!(find("0::/../../other\n", mounts, list), []);
    assert_eq!(find("3:memory:/other\n", mounts, list), []);
    assert_eq!(find("3:memory:/x y/z\n", mounts, list)[0].own, Path::new("z"));
    assert_eq!(find("nonsense\n", "nonsense\n", list), []);
}

use guest_api::{AppId, Isolation};

use super::cgroup::{is_in, limits, oom_kills_in};

#[test]
fn app_without_limits_gets_none() {
    assert_eq!(limits(&Isolation::NONE), []);
}

#[test]
fn limits_are_written_in_the_kernels_words() {
    let isolation = Isolation {
        memory_bytes: Some(64 << 20),
        cpu_milli: Some(1500),
        cpu_weight: Some(100),
        ..Isolation::NONE
    };

    let expected = [
        ("memory.max", "67108864".to_owned()),
        ("cpu.max", "150000 100000".to_owned()),
        ("cpu.weight", "100".to_owned()),
    ];
    assert_eq!(limits(&isolation), expected);
}

#[test]
fn share_of_a_processor_too_small_for_the_kernel_is_its_smallest() {
    let isolation = Isolation { cpu_milli: Some(1), ..Isolation::NONE };

    assert_eq!(limits(&isolation), [("cpu.max", "1000 100000".to_owned())]);
}

#[test]
fn process_is_told_by_its_group_and_the_groups_below() {
    assert!(is_in(AppId(3), "0::/apps/3\n"));
    assert!(is_in(AppId(3), "0::/apps/3/below\n"));
    assert!(!is_in(AppId(3), "0::/apps/31\n"));
    assert!(!is_in(AppId(3), "0::/\n"));
    assert!(!is_in(AppId(3), ""));
}

#[test]
fn kills_for_want_of_memory_are_counted() {
    assert_eq!(oom_kills_in("low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n"), 3);
    assert_eq!(oom_kills_in("oom_killer 1\n"), 0);
    assert_eq!(oom_kills_in(""), 0);
}

use guest_api::Isolation;

use super::cgroup::limits;

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

use appc::machine::MachineSize;

use super::{Host, refusal};

fn refused(cpus: u32, host_cpus: u32) -> Option<String> {
    let size = MachineSize { memory: None, cpus: Some(cpus) };
    refusal(size, Host { memory_bytes: 1 << 30, cpus: host_cpus })
}

#[test]
fn more_processors_than_a_machine_can_have_are_refused_on_the_largest_host() {
    assert_eq!(
        refused(33, 256).unwrap(),
        "the pod's machine cannot have 33 CPUs: 32 is all that a virtual machine can have"
    );
    assert_eq!(refused(32, 256), None);
}

#[test]
fn more_processors_than_the_host_has_are_refused() {
    assert_eq!(refused(3, 2).unwrap(), "the pod's machine cannot have 3 CPUs: 2 is all that this host has");
    assert_eq!(refused(2, 2), None);
}

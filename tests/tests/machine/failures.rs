//! What happens when a part of the machinery is missing or dies: rkt says what, ends with 254, and `rkt gc` finds
//! everything it has to clean up.

use nix::sys::signal::{self, Signal};
use rkt_tests::leaks;

use crate::pod::{INSPECT, Pod, brief};

/// A pod that says `ready` and stays.
fn staying() -> Pod {
    let mut pod = Pod::inspect(&["print-msg", "ready", "sleep", "100000"]);
    pod.wait_for("ready");
    pod
}

/// Checks that the pod counts as exited, and that collecting it leaves nothing behind.
#[track_caller]
fn expect_exited_and_collectable(pod: &Pod) {
    pod.wait_for_state(&pod.uuid, "exited");
    let list = pod.run(["list", "--full", "--no-legend"]).expect_code(0).out();
    let row = list.lines().find(|line| line.starts_with(&pod.uuid)).expect("the pod is listed").to_owned();
    assert!(row.contains("exited"), "{row}");
    let collected = pod.run(["gc", "--grace-period=0s"]).expect_code(0);
    collected.expect_out(&format!("Garbage collecting pod \"{}\"", pod.uuid));
    pod.expect_nothing_left();
}

#[test]
fn a_missing_kvm_device_is_explained() {
    let script = "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && \
                  mknod -m 666 /dev/random c 1 8 && mknod -m 666 /dev/urandom c 1 9 && \"$@\"";

    let mut pod = Pod::start_by_script(script, &[INSPECT]);

    pod.finish().expect_code(254).expect_err("/dev/kvm").expect_err("modprobe");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_forbidden_kvm_device_is_explained() {
    let script = "touch /dev/shm/not-kvm && mount -t tmpfs tmpfs /mnt && cp -a /dev/kvm /mnt/kvm && \
                  mount -o remount,nodev /mnt && mount --bind /mnt/kvm /dev/kvm && \"$@\"";

    let mut pod = Pod::start_by_script(script, &[INSPECT]);

    pod.finish().expect_code(254).expect_err("no permission to open /dev/kvm");
    expect_exited_and_collectable(&pod);
}

#[test]
fn something_else_at_dev_kvm_is_refused() {
    let mut pod = Pod::start_by_script("mount --bind /dev/null /dev/kvm && \"$@\"", &[INSPECT]);

    pod.finish().expect_code(254).expect_err("/dev/kvm");
}

#[test]
fn a_feature_that_nobody_knows_cannot_be_hidden() {
    let mut pod = Pod::start_with_env("RKT_HYPERVISOR_HIDE_KVM_FEATURES", "kvm-nonsense", &[INSPECT]);

    pod.finish()
        .expect_code(254)
        .expect_err("RKT_HYPERVISOR_HIDE_KVM_FEATURES is \"kvm-nonsense\", want names");
}

#[test]
fn a_guest_kernel_that_panics_is_reported() {
    let parameters = "rdinit=/nonexistent root=/dev/nothing";

    let mut pod = Pod::start_with_env("RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS", parameters, &[INSPECT]);

    // With what led to it.
    pod.finish()
        .expect_code(254)
        .expect_err("kernel panicked")
        .expect_err("Kernel panic - not syncing: VFS")
        .expect_err("VFS: Cannot open root device");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_panicking_kernel_says_why_with_debug() {
    let parameters = "rdinit=/nonexistent root=/dev/nothing";

    let mut pod =
        Pod::start_with_env("RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS", parameters, &["--debug", INSPECT]);

    let output = pod.finish();

    output
        .expect_code(254)
        .expect_err("kernel: Kernel panic - not syncing")
        .expect_err("VMM: the machine is built");
}

#[test]
fn a_guest_that_hangs_while_it_boots_is_given_up() {
    // A panic that waits for somebody at the console instead of resetting the machine.
    let hang = ("RKT_HYPERVISOR_EXTRA_KERNEL_PARAMS", "panic=0 rdinit=/nonexistent root=/dev/nothing");
    let limit = ("RKT_HYPERVISOR_BOOT_TIMEOUT", "5");

    let mut pod = Pod::start_with_envs(&[hang, limit], &[INSPECT]);

    pod.finish().expect_code(254).expect_err("the guest did not start within 5 s");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_guest_init_that_dies_is_reported() {
    // Zeroes over the code of PID 1: its next instruction is not its own.
    let script = "echo ready; sleep 1; line=$(grep -m 1 'r-xp.*init' /proc/1/maps); start=$((0x${line%%-*})); \
                  end=${line#*-}; end=$((0x${end%% *})); \
                  dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$((start / 4096)) count=$(((end - start) / 4096)) \
                  conv=notrunc; while sleep 1; do echo wake up; done";
    let everything = "--insecure-options=image,capabilities,paths,seccomp";
    let mut pod = Pod::start(&[everything, "example.com/busybox", "--", "-c", script]);
    pod.wait_for("ready");

    let output = pod.finish();

    output
        .expect_code(254)
        .expect_err("init died")
        .expect_err("Kernel panic - not syncing: Attempted to kill init")
        .expect_err("RIP: 0033:");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_killed_vmm_ends_the_pod() {
    let mut pod = staying();

    signal::kill(pod.vmm(), Signal::SIGKILL).expect("the VMM runs");

    pod.finish().expect_code(254).expect_err("VMM");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_killed_file_server_ends_the_pod() {
    let mut pod = staying();

    signal::kill(pod.file_server(), Signal::SIGKILL).expect("the file server runs");

    pod.finish().expect_code(254).expect_err("file server");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_killed_supervisor_takes_the_pod_with_it() {
    let links = leaks::links();
    let mut pod = staying();

    pod.running().send(Signal::SIGKILL);

    pod.finish().expect_code(128 + 9);
    expect_exited_and_collectable(&pod);
    assert_eq!(leaks::links(), links);
}

#[test]
fn a_second_ctrl_c_kills_a_pod_that_does_not_listen() {
    let mut pod = Pod::inspect(&["ignore", "TERM", "print-msg", "ready", "sleep", "100000"]);
    pod.wait_for("ready");

    pod.running().send_group(Signal::SIGINT);
    std::thread::sleep(std::time::Duration::from_millis(500));
    pod.running().send_group(Signal::SIGINT);

    let output = pod.finish_within(brief());
    assert_ne!(output.code(), 0, "{output:?}");
    expect_exited_and_collectable(&pod);
}

#[test]
fn a_pod_whose_output_nobody_reads_can_be_stopped() {
    let pod = Pod::start_by_script("\"$@\" | sleep 100000", &[INSPECT, "--", "flood", "100000000", "1000"]);
    pod.run(["status", "--wait-ready=60s", &pod.uuid]).expect_code(0);
    let supervisor = pod.status_value(&pod.uuid, "pid").expect("a pod that is ready has one");
    let supervisor = nix::unistd::Pid::from_raw(supervisor.parse().expect("a number"));
    std::thread::sleep(std::time::Duration::from_secs(3));

    // The first asks the apps to end, the second gives up on the output that nobody takes.
    signal::kill(supervisor, Signal::SIGTERM).expect("the supervisor runs");
    std::thread::sleep(std::time::Duration::from_secs(3));
    signal::kill(supervisor, Signal::SIGTERM).expect("the supervisor runs");

    pod.wait_for_state(&pod.uuid, "exited");
}

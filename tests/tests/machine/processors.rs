//! Virtual machines with several processors. The emulated machine has one, and a pod gets no more than its host has, so
//! this asks the VMM itself.

use std::process::Command;

use rkt_tests::command::{self, limit};
use rkt_tests::dist;

use crate::network::{alone, host};
use crate::pod::fresh_path;

/// The VMM with this many processors.
fn vmm(processors: &str, initramfs: &std::path::Path) -> Command {
    let mut vmm = Command::new(dist::file("vmm-boot"));
    vmm.arg("--kernel").arg(dist::file("vmlinux")).arg("--initramfs").arg(initramfs);
    vmm.args(["--vcpus", processors, "--cmdline", "console=ttyS0 panic=-1 reboot=k"]);
    vmm
}

#[test]
fn every_virtual_processor_comes_up() {
    let output = command::run(&mut vmm("3", &dist::file("initramfs")), limit(30));

    output.expect_out("Brought up 1 node, 3 CPUs").expect_code(0);
}

#[test]
fn a_machine_with_more_processors_than_its_kernel_knows_is_refused() {
    let output = command::run(&mut vmm("33", &dist::file("initramfs")), limit(30));

    assert_ne!(output.code(), 0, "{output:?}");
    output.expect_err("33 virtual CPUs, want 1 to 32");
}

/// A tap with several queues that outlives the machine behind it.
struct Tap;

const TAP: &str = "other-queues";

impl Tap {
    fn new() -> Self {
        host("ip", &["tuntap", "add", "dev", TAP, "mode", "tap", "multi_queue", "vnet_hdr"]);
        host("ip", &["addr", "add", "10.205.0.1/24", "dev", TAP]);
        host("ip", &["link", "set", TAP, "up"]);
        Self
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", TAP]).output();
    }
}

/// Sends by each processor's queue.
const INIT: &str = "#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B ip addr add 10.205.0.2/24 dev eth0
$B ip link set eth0 up
echo queues $($B ls /sys/class/net/eth0/queues)
for processor in 0 1; do
    $B taskset $((1 << processor)) $B ping -c 2 -W 20 10.205.0.1 && echo processor $processor reached the host
done
$B reboot -f
";

#[test]
fn a_card_has_a_pair_of_queues_for_each_processor() {
    let _alone = alone();
    let _tap = Tap::new();
    let mut archive = kvm_machine::cpio::Writer::new(Vec::new());
    for directory in ["bin", "dev", "proc", "sys"] {
        archive.directory(directory, 0o755).expect("packing");
    }
    archive.character_device("dev/console", 0o600, 5, 1).expect("packing");
    archive.character_device("dev/null", 0o666, 1, 3).expect("packing");
    archive.file("init", 0o755, INIT.as_bytes()).expect("packing");
    let busybox = std::fs::read("/bin/busybox").expect("busybox");
    archive.file("bin/busybox", 0o755, &busybox).expect("packing");
    let initramfs = fresh_path("initramfs");
    std::fs::write(&initramfs, archive.finish().expect("packing")).expect("a file");

    let output = command::run(vmm("2", &initramfs).args(["--tap", TAP, "--tap-queues", "2"]), limit(30));

    let output = output.expect_code(0).expect_out("queues rx-0 rx-1 tx-0 tx-1");
    output.expect_out("processor 0 reached the host").expect_out("processor 1 reached the host");
}

//! Virtual machines with several processors. The emulated machine has one, and a pod gets no more than its host has, so
//! this asks the VMM itself.

use std::process::Command;

use rkt_tests::command::{self, limit};
use rkt_tests::dist;

#[test]
fn every_virtual_processor_comes_up() {
    let mut vmm = Command::new(dist::file("vmm-boot"));
    vmm.arg("--kernel").arg(dist::file("vmlinux")).arg("--initramfs").arg(dist::file("initramfs"));
    vmm.args(["--vcpus", "3", "--cmdline", "console=ttyS0 panic=-1 reboot=k"]);

    let output = command::run(&mut vmm, limit(30));

    output.expect_out("Brought up 1 node, 3 CPUs").expect_code(0);
}

//! What an idle pod of one virtual CPU and 128 MiB holds of the host's memory, process by process, beside QEMU's microvm with the
//! same kernel, memory and program. Run by `cargo xtask bench memory`.
//!
//! Sizes are proportional: a page that several processes share counts once. `guest` is guest memory that was touched, the guest's page
//! cache included; `rest` is everything else. Page tables and the kernel's own memory are not in it.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::env;
use std::thread;
use std::time::Duration;

use rkt_tests::dist;
use rkt_tests::footprint::{Footprint, IdlePod, IdleQemu, SETTLING};
use rkt_tests::rkt::TestRkt;

fn main() {
    assert_eq!(kvm_machine::place(), kvm_machine::Place::Host, "run this through `cargo xtask bench memory`");
    let settling = if env::args().any(|argument| argument == "--smoke") { Duration::ZERO } else { SETTLING };
    let rkt = TestRkt::new();
    let image = dist::image("inspect");
    rkt.run(["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")]).expect_code(0);
    let initramfs = IdleQemu::initramfs(&rkt);

    let mut qemu = IdleQemu::start(&initramfs);
    qemu.wait();
    thread::sleep(settling);
    let of_qemu = qemu.footprint();
    qemu.end();

    let mut pod = IdlePod::start(&rkt, "idle");
    pod.wait();
    thread::sleep(settling);
    let of_pod = pod.footprints();
    pod.end();

    println!("{:<20} {:>10} {:>10} {:>10}", "MiB", "guest", "rest", "all");
    for (number, footprint) in of_pod.iter().enumerate() {
        row(if number == 0 { "supervisor" } else { "helper" }, *footprint);
    }
    let sum: Footprint = of_pod.iter().copied().sum();
    row("pod", sum);
    row("QEMU", of_qemu);
    println!("beyond_guest_mib {:.1}", sum.rest as f64 / f64::from(1 << 20));
    println!("idle_pod_mib {:.1}", sum.mebibytes());
    println!("ratio pod/QEMU {:.2}", sum.mebibytes() / of_qemu.mebibytes());
}

fn row(name: &str, footprint: Footprint) {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (guest, rest) = (mebibytes(footprint.guest), mebibytes(footprint.rest));
    println!("{name:<20} {guest:>10.1} {rest:>10.1} {:>10.1}", footprint.mebibytes());
}

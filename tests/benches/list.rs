//! What `rkt list` and `rkt gc` cost with a thousand pods on disk. Run by `cargo xtask bench list`, on this host.
//!
//! The pods are real: each was run by `rkt run`, with an app, an overlay and a stage1 that ends at once. CPU is user and system
//! time of `rkt list`. What `gc` takes is the time of the two calls that a pod needs, the one that marks it and the one that
//! deletes it, stage1's `gc` for each pod included; it grows with the number of pods and no faster, so the second figure should be ten times the first.
//!
//! Everything lies in memory: the kernel syncs the disk whenever an overlay is unmounted, so on disk `gc` waits for
//! whatever else is being written there.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use rkt_tests::aci::{self, Aci};
use rkt_tests::rkt::TestRkt;
use rkt_tests::stub_stage1;

/// How often `rkt list` is measured; the first time, which fills the page cache, does not count.
const ROUNDS: usize = 9;
/// Pods that are made at the same time.
const MAKERS: usize = 4;

/// How many pods there are.
struct Size {
    few: usize,
    many: usize,
}

const FULL: Size = Size { few: 100, many: 1_000 };
const SMOKE: Size = Size { few: 4, many: 40 };

/// Milliseconds.
struct Cost {
    wall: f64,
    cpu: f64,
}

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    let size = if smoke { SMOKE } else { FULL };
    work_in_memory();
    let rkt = rkt_with_images();

    make_pods(&rkt, size.few);
    let few = gc_cost(&rkt, size.few);

    make_pods(&rkt, size.many);
    let mut costs: Vec<f64> = (0..ROUNDS).map(|_| list_cpu_milliseconds(&rkt, size.many)).collect();
    costs.remove(0);
    costs.sort_by(f64::total_cmp);
    let many = gc_cost(&rkt, size.many);
    rkt.expect_nothing_left();

    println!("list_{}_cpu_ms {:.1}", size.many, costs[costs.len() / 2]);
    for (pods, cost) in [(size.few, few), (size.many, many)] {
        println!("gc_{pods}_ms {:.0}", cost.wall);
        println!("gc_{pods}_cpu_ms {:.0}", cost.cpu);
    }
}

/// Gives this process a `/var/tmp` in memory, which nobody else sees, as nobody sees the mounts of thousands of pods.
fn work_in_memory() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace; this needs root");
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("private mounts");
    mount(Some("tmpfs"), "/var/tmp", Some("tmpfs"), MsFlags::empty(), nothing).expect("mounting a tmpfs");
}

fn rkt_with_images() -> TestRkt {
    let rkt = TestRkt::new();
    stub_stage1::write(&rkt.path("stub.aci"));
    Aci::new(&aci::manifest("example.com/app"))
        .file("rootfs/app", 0o755, b"#!/bin/sh\n")
        .write(&rkt.path("app.aci"));
    rkt.run(["--insecure-options=image", "fetch", "./app.aci"]).expect_code(0);
    rkt
}

fn make_pods(rkt: &TestRkt, count: usize) {
    let started = Instant::now();
    let arguments = ["run", "--insecure-options=image", "--stage1-path=stub.aci", "example.com/app"];
    thread::scope(|scope| {
        for maker in 0..MAKERS {
            scope.spawn(move || {
                for _ in (maker..count).step_by(MAKERS) {
                    rkt.run(arguments).expect_code(0);
                }
            });
        }
    });
    println!("{count} pods in {:.0} s", started.elapsed().as_secs_f64());
}

/// User and system time of `rkt list`, which has to show every pod.
fn list_cpu_milliseconds(rkt: &TestRkt, pods: usize) -> f64 {
    let before = cpu_of_children();
    let output = rkt.command(["list", "--no-legend"]).output().expect("starting rkt");
    let cost = cpu_of_children() - before;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), pods, "a row a pod");
    cost
}

fn cpu_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let milliseconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3;
    milliseconds(usage.user_time()) + milliseconds(usage.system_time())
}

/// What it takes until pods that exited are gone.
fn gc_cost(rkt: &TestRkt, pods: usize) -> Cost {
    assert_eq!(rkt.pods_in("run").len(), pods);
    let (started, before) = (Instant::now(), cpu_of_children());
    succeed(rkt.command(["gc", "--mark-only"]));
    succeed(rkt.command(["gc", "--grace-period=0s"]));
    let cost = Cost { wall: started.elapsed().as_secs_f64() * 1e3, cpu: cpu_of_children() - before };
    for state in ["run", "exited-garbage", "garbage"] {
        assert_eq!(rkt.pods_in(state).len(), 0, "pods in {state}");
    }
    cost
}

fn succeed(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("starting rkt");
    assert!(output.status.success(), "{output:?}");
}

//! The memory of a pod's machine: it goes back to the host when apps free it, by a guest that does nothing while nothing happens.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use rkt_tests::command::limit;

use crate::pod::{INSPECT, Pod, fresh_path, rkt, said};

const MIB: u64 = 1 << 20;

/// What the app uses: most of the smallest machine.
const USED_MIB: u64 = 200;

/// How much of that may stay with the guest: pages between others that are still used.
const KEPT_MIB: u64 = 20;

/// For how long an idle pod is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// How often all of an idle pod's threads together may wake up in a second. Timers of the guest's kernel make
/// it some five; a tick, of which it has 100 a second, or a poll would be far above.
const WAKE_UPS: u64 = 20;

/// What of the guest's memory takes memory of the host.
#[track_caller]
fn guest_memory_mib(vmm: Pid) -> u64 {
    let descriptors = fs::read_dir(format!("/proc/{vmm}/fd")).expect("the VMM runs");
    let of_guest = |path: &fs::DirEntry| {
        fs::read_link(path.path()).is_ok_and(|target| target.to_string_lossy().contains("guest-memory"))
    };
    let file = descriptors.flatten().find(of_guest).expect("the VMM has the guest's memory open");
    fs::metadata(file.path()).expect("a file").blocks() * 512 / MIB
}

/// Waits until the guest has no more than that.
#[track_caller]
fn wait_for_at_most(vmm: Pid, mib: u64) -> u64 {
    let deadline = Instant::now() + limit(15);
    loop {
        let now = guest_memory_mib(vmm);
        if now <= mib {
            return now;
        }
        assert!(Instant::now() < deadline, "the guest still has {now} MiB, not {mib}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// How often the processes' threads have gone from waiting to running.
fn wake_ups(processes: &[Pid]) -> u64 {
    let tasks = processes.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let statuses =
        tasks.flatten().flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let waits = statuses.filter_map(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    waits.sum()
}

#[test]
fn memory_that_an_app_frees_goes_back_to_the_host_and_an_idle_pod_does_nothing() {
    let directory = fresh_path("volume");
    fs::create_dir(&directory).expect("creating");
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let used = USED_MIB.to_string();
    let steps = [
        "--",
        "print-msg",
        "up",
        "await-file",
        "/mnt/use",
        "fill-memory",
        &used,
        "await-file",
        "/mnt/free",
        "sleep",
        "100000",
    ];
    let mut pod = Pod::start(&[&[&volume, INSPECT, "--mount=volume=v,target=/mnt"], &steps[..]].concat());
    pod.wait_for("up");
    let go = |file: &str| fs::write(directory.join(file), "").expect("writing");
    let vmm = pod.vmm();
    let before = guest_memory_mib(vmm);

    go("use");
    pod.wait_for("filled");
    let while_used = guest_memory_mib(vmm);
    go("free");
    pod.wait_for("freed");
    let after = wait_for_at_most(vmm, while_used.saturating_sub(USED_MIB - KEPT_MIB));

    println!("table: guest memory in MiB of the host\tbefore {before}, used {while_used}, after {after}");
    assert!(while_used >= before.min(100) + USED_MIB - KEPT_MIB, "{before} {while_used}");
    let mut processes: Vec<Pid> = pod.helpers().into_iter().map(|(pid, _)| pid).collect();
    processes.push(pod.running().pid());
    let first = wake_ups(&processes);
    thread::sleep(WATCHED);
    let woken = wake_ups(&processes) - first;
    println!("table: idle pod\t{woken} wake-ups in {} s", WATCHED.as_secs());
    println!("table: guest memory some time later\t{} MiB", guest_memory_mib(vmm));
    rkt().run(["stop", "--force", &pod.uuid]).expect_code(0);
    assert!(woken <= WAKE_UPS * WATCHED.as_secs(), "{woken} wake-ups");
}

#[test]
fn a_machine_has_the_size_that_its_pod_asks_for() {
    let report = "grep MemTotal /proc/meminfo; nproc";
    let flags =
        ["--vm-memory=144Mi", "--vm-cpus=1", "example.com/busybox", "--memory=1Gi", "--", "-c", report];

    let output = Pod::start(&flags).finish().expect_code(0);

    let said = said(&output.stdout, "busybox");
    let kib: u64 = said[0].split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    // What the kernel itself takes is not counted.
    assert!((80 * 1024..144 * 1024).contains(&kib), "{said:?}");
    assert_eq!(said[1], "1");
}

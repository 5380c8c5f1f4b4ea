//! Two tenants of one host: whatever one of them does, the other has its data, its answers and its memory. A claim of docs/threat-model.md.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rkt_tests::command::{self, Stream, limit};
use rkt_tests::leaks;
use serde_json::{Value, json};

use crate::groups::{of_pod, read};
use crate::network;
use crate::pod::{Pod, fresh_path, rkt, shell_app};

const MIB: u64 = 1 << 20;

/// Machine of each pod.
const MACHINE: [&str; 2] = ["--vm-memory=144Mi", "--vm-cpus=1"];

/// What the hostile pod's processes may take of the host at most: guest, page tables, overhead, files and reserve.
const HOSTILE_LIMIT: u64 = (144 + 2 + 64 + 256 + 64) * MIB;

/// How much of the victim's own memory may come and go while it answers.
const TOLERANCE: u64 = 24 * MIB;

/// What may come and go on the host beside the hostile pod: the victim's, the tests' and the kernel's own.
const HOST_TOLERANCE: u64 = 200 * MIB;

/// How many requests the victim answers at least while the other one is at its work, and in what time each: a hundred times what one
/// takes on an idle host.
const REQUESTS: usize = 6;
const PATIENCE: u64 = 60;

/// The hostile pod: each of its apps does one thing without end, as root of its guest.
fn hostile(victim: &str) -> String {
    let bomb = "(while :; do (sleep 100 & sleep 100 &) 2> /dev/null; done) & exec sleep 100000";
    let memory = "while :; do head -c 1000000000 /dev/zero | tail > /dev/null 2>&1; done";
    let disk = "while :; do dd if=/dev/zero of=/hog bs=1M count=500 2> /dev/null; done";
    let network = format!(
        "while :; do for n in 1 2 3 4 5 6 7 8; do busybox wget -q -T 1 -O /dev/null http://{victim}/file & done; \
         head -c 60000 /dev/zero | busybox nc -u -w 1 {victim} 9; \
         head -c 60000 /dev/zero | busybox nc -u -w 1 172.16.28.1 9; wait; done 2> /dev/null"
    );
    let escape = "for name in /proc/kcore /dev/mem /dev/kmem /dev/port /sys/kernel/debug /proc/1/root; do cat $name; done; \
                  mknod /disk b 254 0; cat /disk; mount -t proc proc /mnt; busybox unshare -m true; busybox insmod /x; \
                  echo c > /proc/sysrq-trigger; chroot /proc/1/root true; echo under-way > /dev/stdout; \
                  n=0; while [ $n -lt 1000 ]; do echo flood flood flood flood flood flood flood flood; n=$((n + 1)); done; \
                  echo a-thousand-lines; while :; do echo flood flood flood flood flood flood flood flood; done";
    let first = json!({ "isolators": [{ "name": "os/linux/oom-score-adj", "value": 1000 }] });
    // In its guest: the others' turns would make it take long to write enough.
    let busy = json!({ "isolators": [{ "name": "os/linux/cpu-shares", "value": 262_144 }] });
    let none = json!({});
    let apps = [
        shell_app("bomb", bomb, &none),
        shell_app("memory", memory, &first),
        shell_app("disk", disk, &busy),
        shell_app("network", &network, &none),
        shell_app("escape", escape, &none),
    ];
    let limit = |name: &str, limit: &str| json!({ "name": name, "value": { "limit": limit } });
    let manifest = json!({
        "acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps,
        "isolators": [limit("resource/memory", "144Mi"), limit("resource/cpu", "1")],
    });
    let path = fresh_path("manifest");
    fs::write(&path, manifest.to_string()).expect("writing a manifest");
    format!("--pod-manifest={}", path.display())
}

/// The victim's app serves a file of its volume, and has one of its own.
const VICTIM: &str = "head -c 3000000 /dev/urandom > /own; busybox httpd -p 80 -h /data && echo serving; \
                      while :; do sleep 1; done";

/// What a command in the victim says, in time.
#[track_caller]
fn ask(victim: &Pod, script: &str) -> String {
    let mut command = rkt().command(["enter", &victim.uuid, "/bin/sh", "-c", script]);
    command::run(&mut command, limit(PATIENCE)).expect_code(0).out().trim().to_owned()
}

fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn address(pod: &Pod) -> String {
    let status = pod.run(["status", "--format=json", &pod.uuid]).expect_code(0).out();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    status["networks"][0]["ip"].as_str().expect("an address").to_owned()
}

/// What the victim's guest and its processes hold, and what its files are.
struct Holdings {
    guest: u64,
    host: u64,
    files: String,
}

#[track_caller]
fn charged(pod: &Pod) -> u64 {
    read(&of_pod(pod), "memory.current").parse().expect("bytes")
}

#[track_caller]
fn holdings(victim: &Pod, volume: &Path) -> Holdings {
    let on_host = command::run(Command::new("sha256sum").arg(volume.join("file")), limit(60)).out();
    Holdings {
        guest: available(&ask(victim, "cat /proc/meminfo")),
        host: charged(victim),
        files: ask(victim, "sha256sum /data/file /own") + on_host.split(' ').next().expect("a sum"),
    }
}

/// Whether the pod has come to the limit of its memory.
fn has_met_its_limit(pod: &Pod) -> bool {
    let events = read(&of_pod(pod), "memory.events");
    events.lines().any(|line| line.strip_prefix("high ").is_some_and(|count| count != "0"))
}

fn host_available() -> u64 {
    available(&fs::read_to_string("/proc/meminfo").expect("/proc"))
}

#[test]
fn a_pod_that_does_its_worst_costs_its_neighbour_neither_data_nor_answers_nor_memory() {
    let _alone = network::alone();
    let volume = fresh_path("volume");
    fs::create_dir(&volume).expect("creating");
    fs::write(volume.join("file"), vec![0xa5; 5_000_000]).expect("writing");
    let mount = format!("--volume=data,kind=host,source={},readOnly=true", volume.display());
    let app = [&mount, "example.com/busybox", "--mount=volume=data,target=/data", "--", "-c", VICTIM];
    let mut victim = Pod::start_on("default", &[&MACHINE[..], &app].concat());
    victim.wait_for("serving");
    let before = holdings(&victim, &volume);
    let host_before = host_available();

    let mut hostile = Pod::start_on("default", &[&hostile(&address(&victim))]);
    hostile.running().wait_for(Stream::Out, "under-way", limit(60));
    let (mut most, mut least, mut answered) = (0, u64::MAX, 0);
    let begun = Instant::now();
    while answered < REQUESTS || !has_met_its_limit(&hostile) {
        assert!(begun.elapsed() < limit(120), "the hostile pod's group is charged {most} bytes at most");
        assert_eq!(ask(&victim, "busybox wget -q -O- http://127.0.0.1/file | wc -c"), "5000000");
        answered += 1;
        most = most.max(charged(&hostile));
        least = least.min(host_available());
    }
    let after = holdings(&victim, &volume);

    let seconds = begun.elapsed().as_secs();
    println!(
        "table: hostile pod\t{} of {} MiB; its neighbour answers {answered} times in {seconds} s",
        most / MIB,
        HOSTILE_LIMIT / MIB
    );
    assert_eq!(after.files, before.files);
    assert!(after.guest + TOLERANCE > before.guest, "{} of {} bytes", after.guest, before.guest);
    assert!(after.host < before.host + TOLERANCE, "{} after {} bytes", after.host, before.host);
    assert!(most <= HOSTILE_LIMIT, "{most}");
    assert!(least + HOSTILE_LIMIT + HOST_TOLERANCE > host_before, "{least} of {host_before} bytes");
    hostile.running().wait_for(Stream::Out, "a-thousand-lines", limit(60));
    rkt().run(["stop", "--force", &hostile.uuid]).expect_code(0);
    hostile.finish_within(limit(60));
    assert_eq!(ask(&victim, "echo well"), "well");
    rkt().run(["stop", &victim.uuid]).expect_code(0);
    victim.finish();
    for pod in [&hostile, &victim] {
        assert_eq!(leaks::cgroups_of(&pod.uuid), Vec::<String>::new());
        rkt().run(["rm", &pod.uuid]).expect_code(0);
        pod.expect_nothing_left();
    }
}

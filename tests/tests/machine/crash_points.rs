//! stage1 killed at every labelled point of its life: its virtual machine and its helpers die with it, the pod's lock falls,
//! and `gc` brings the machine to where it was before.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;
use rkt_tests::command::{self, Running, Stream, limit};
use rkt_tests::faults::{self, Moment};
use rkt_tests::leaks;

use crate::pod::{INSPECT, fresh_path, rkt};

/// Virtual machines at a time.
const AT_A_TIME: usize = 4;

/// Collects whatever can be collected.
const GC: [&str; 2] = ["gc", "--grace-period=0s"];

/// Points of the process that shows an app's files to a running guest, or takes them away.
const SHARES_POINTS: [&str; 3] = [OVERLAY_POINT, "shares.extended", "shares.withdrawn"];

/// A point that both that process and `rkt run` pass.
const OVERLAY_POINT: &str = "app_root.mounted";

/// Points that `rkt stop` and `rkt gc` pass; all others are passed by `rkt run`.
const STOP_POINT: &str = "stop.asked";
const GC_POINTS: [&str; 7] = [
    "network.deleted",
    "network.namespace.unmounted",
    "network.namespace.removed",
    "network.firewall.removed",
    "groups.removed",
    "groups.forgotten",
    "gc.done",
];

/// The network of pods that are killed while they get one, or lose it.
const NETWORK: &str = "crash-test";

/// What the points on the way to a network begin with.
const NETWORK_POINTS: &str = "network.";

/// The stage1 that can be killed.
struct Stage1 {
    flag: String,
}

impl Stage1 {
    fn fetch() -> Self {
        let image = faults::file("stage1-kvm.aci");
        let image = image.to_str().expect("UTF-8");
        let id = rkt().run(["fetch", "--insecure-options=image", "--full", image]).expect_code(0).out();
        Self { flag: format!("--stage1-hash={}", id.trim()) }
    }

    /// `rkt run` of an app on a network that carries out `steps`.
    fn run(&self, network: &str, file: &str, steps: &[&str]) -> Vec<String> {
        let save = format!("--uuid-file-save={file}");
        let network = format!("--net={network}");
        let words = [
            &[
                "run",
                "--insecure-options=image",
                &network,
                &save,
                &self.flag,
                INSPECT,
                "--stdout=stream",
                "--",
            ],
            steps,
        ];
        words.concat().into_iter().map(str::to_owned).collect()
    }

    /// Starts a pod that runs until it is stopped; returns its UUID too.
    fn start(&self, network: &str) -> (Running, String) {
        let file = fresh_path("uuid");
        let steps = ["print-msg", "ready", "sleep", "100000"];
        let mut pod = rkt().start(self.run(network, file.to_str().expect("UTF-8"), &steps));
        pod.wait_for(Stream::Out, "ready", limit(60));
        let uuid = rkt().wait_for_uuid(&mut pod, &file);
        (pod, uuid)
    }

    /// Kills stage1 at the point; returns the pod's UUID.
    fn killed_at(&self, point: &str) -> String {
        let file = fresh_path("uuid");
        let network = if point.starts_with(NETWORK_POINTS) { NETWORK } else { "none" };
        let path = file.to_str().expect("UTF-8");
        let mut command = rkt().command(self.run(network, path, &["print-msg", "hello"]));
        Moment { point: point.to_owned(), hit: 1 }.ends(&mut command);

        let output = command::run(&mut command, limit(60));

        assert_eq!(output.code(), 128 + Signal::SIGKILL as i32, "not killed at {point}: {output:?}");
        let uuid = std::fs::read_to_string(&file).expect("rkt wrote the UUID");
        // The pod's helpers die with stage1, and have a moment for it.
        rkt().wait_for_state(&uuid, "exited");
        uuid
    }
}

#[test]
fn killed_at_any_point_stage1_takes_its_pod_along_and_gc_collects_it() {
    let stage1 = Stage1::fetch();
    define_network();
    let host = leaks::Host::now();
    let points = faults::points("stage1");
    assert!(points.len() >= 10, "{points:?}");
    let mut others = [&[STOP_POINT], &GC_POINTS[..], &SHARES_POINTS].concat();
    others.retain(|point| *point != OVERLAY_POINT);
    let points: Vec<&String> = points.iter().filter(|point| !others.contains(&point.as_str())).collect();

    let mut uuids: Vec<String> = Vec::new();
    for some in points.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            let killed: Vec<_> = some.iter().map(|point| scope.spawn(|| stage1.killed_at(point))).collect();
            uuids.extend(killed.into_iter().map(|killed| killed.join().expect("it was killed")));
        });
    }
    // A stop that is killed when it has asked: the pod ends all the same.
    let (pod, uuid) = stage1.start(NETWORK);
    let mut stop = rkt().command(["stop", &uuid]);
    Moment { point: STOP_POINT.to_owned(), hit: 1 }.ends(&mut stop);
    let stopped = command::run(&mut stop, limit(60));
    assert!(stopped.err().contains("signal: 9") || stopped.code() == 0, "{stopped:?}");
    rkt().run(["stop", &uuid]).expect_code(0);
    pod.finish(limit(60));
    uuids.push(uuid);
    // A gc whose stage1 is killed says so and goes on; what it has not cleaned up is there for the next one.
    for point in GC_POINTS {
        let mut gc = rkt().command(GC);
        Moment { point: point.to_owned(), hit: 1 }.ends(&mut gc);
        command::run(&mut gc, limit(120)).expect_code(0).expect_err("signal: 9");
    }

    rkt().run(GC).expect_code(0);

    let known: BTreeSet<String> = ["run", "prepare", "exited-garbage", "garbage", "embryo"]
        .iter()
        .flat_map(|stage| rkt().pods_in(stage))
        .collect();
    let masquerading = command::run(Command::new("iptables-save").arg("-t").arg("nat"), limit(30)).out();
    let tables = command::run(Command::new("nft").args(["list", "tables"]), limit(30)).out();
    for uuid in &uuids {
        assert!(!tables.contains(uuid.as_str()), "{tables}");
        assert!(!masquerading.contains(uuid.as_str()), "{masquerading}");
        assert!(!known.contains(uuid), "{uuid} was not collected");
        let left = leaks::of_pod(uuid);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
    let left = host.left();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let leases = std::fs::read_dir(format!("/var/lib/cni/networks/{NETWORK}")).expect("host-local was there");
    let leases: Vec<_> = leases.flatten().map(|entry| entry.file_name()).collect();
    assert!(leases.iter().all(|name| name == "lock" || name == "last_reserved_ip.0"), "{leases:?}");
}

/// A network whose plugins keep something on the host.
fn define_network() {
    let directory = rkt().local_config().join("net.d");
    std::fs::create_dir_all(&directory).expect("a directory");
    let network = serde_json::json!({
        "cniVersion": "1.0.0", "name": NETWORK, "type": "ptp", "ipMasq": true,
        "ipam": { "type": "host-local", "subnet": "10.201.40.0/24" },
    });
    std::fs::write(directory.join(format!("{NETWORK}.conf")), network.to_string()).expect("a configuration");
}

/// Kills the process of stage1's that shows an app's files, at the point. Returns the UUID of the pod, which goes on.
fn killed_while_apps_change(stage1: &Stage1, point: &str) -> String {
    let file = fresh_path("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let mut command = rkt().command(["app", "sandbox", "--net=none", &save, &stage1.flag]);
    Moment { point: point.to_owned(), hit: 1 }.ends(&mut command);
    let mut pod = Running::start(&mut command);
    let uuid = rkt().wait_for_uuid(&mut pod, &file);
    rkt().run(["status", "--wait-ready", &uuid]).expect_code(0);

    let added = rkt().run(["app", "add", &uuid, INSPECT, "--name=web"]);
    let killed = "the process that shares files was killed by signal 9";
    if point != "shares.withdrawn" {
        added.expect_code(254).expect_err(killed);
        let list = rkt().run(["app", "list", "--no-legend", &uuid]).expect_code(0).out();
        assert_eq!(list, "", "what failed is undone");
    } else {
        added.expect_code(0);
        rkt().run(["app", "rm", &uuid, "--app=web"]).expect_code(254).expect_err(killed);
    }
    rkt().run(["stop", &uuid]).expect_code(0);
    pod.finish(limit(60)).expect_code(0);
    rkt().wait_for_state(&uuid, "exited");
    uuid
}

#[test]
fn what_shows_an_apps_files_may_be_killed_and_the_pod_goes_on() {
    let stage1 = Stage1::fetch();
    let host = leaks::Host::now();
    let uuids: Vec<String> = thread::scope(|scope| {
        let stage1 = &stage1;
        let killed: Vec<_> = SHARES_POINTS
            .iter()
            .map(|point| scope.spawn(|| killed_while_apps_change(stage1, point)))
            .collect();
        killed.into_iter().map(|killed| killed.join().expect("it was killed")).collect()
    });

    for uuid in &uuids {
        rkt().run(["rm", uuid]).expect_code(0);
        let left = leaks::of_pod(uuid);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
    let left = host.left();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

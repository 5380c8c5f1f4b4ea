//! Eight shells at one data directory: they start, prepare, list, stop, remove and collect pods in a random order. Whatever
//! the order, no command fails but for a reason that the reference knows and another shell gave it, and nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rkt_tests::command::{Running, limit};
use rkt_tests::messages::{expect_done_or_refused, expect_known};
use rkt_tests::random::Random;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::{cas, leaks, stub_stage1};

use crate::publisher::{self, NAME};

/// Pods started in all, and shells.
const PODS: usize = 50;
const SHELLS: usize = 8;

/// A pod that somebody started; it runs until its file is removed.
struct Started {
    run: Running,
    hold: PathBuf,
}

struct Host {
    rkt: TestRkt,
    started: AtomicUsize,
    running: Mutex<Vec<Started>>,
    /// Every pod's UUID, also of those that are gone.
    uuids: Mutex<BTreeSet<String>>,
}

impl Host {
    fn new() -> Self {
        let rkt = publisher::rkt();
        // Syncs of a disk would take most of the time.
        mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .expect("a tmpfs");
        publisher::image(&rkt, "app.aci");
        rkt.run(["fetch", "--insecure-options=image", "./stub.aci", "./app.aci"]).expect_code(0);
        Self { rkt, started: AtomicUsize::new(0), running: Mutex::default(), uuids: Mutex::default() }
    }

    /// `rkt COMMAND` with the images in the store.
    fn with_images(&self, command: &str, further: &[&str]) -> Vec<String> {
        let stage1 = format!("--stage1-name={}:1.0.0", stub_stage1::NAME);
        let words = [&[command, "--insecure-options=image", &stage1], further, &[NAME]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn a_pod(&self, random: &mut Random) -> String {
        let uuids = self.uuids.lock().expect("no panic with the lock");
        if uuids.is_empty() {
            return "no-such-pod".to_owned();
        }
        uuids.iter().nth(random.below(uuids.len())).expect("it is below the length").clone()
    }

    /// Starts a pod that others find as soon as rkt has said its name.
    fn start(&self, arguments: &[String], name: &str) {
        let hold = self.rkt.path(&format!("hold-{name}"));
        fs::write(&hold, "").expect("writing");
        let mut command = self.rkt.command(arguments);
        command.env("STUB_HOLD", &hold);
        let run = Running::start(&mut command);
        self.running.lock().expect("no panic with the lock").push(Started { run, hold });
    }

    fn run_pod(&self, random: &mut Random) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let file = format!("uuid-{number}");
        let save = format!("--uuid-file-save={file}");
        let flags =
            if random.below(4) == 0 { vec![save.as_str(), "--no-overlay"] } else { vec![save.as_str()] };
        self.start(&self.with_images("run", &flags), &number.to_string());
        // Somebody may stop it in the middle of its start, and then again may not know it yet.
        if random.below(2) == 0 {
            thread::sleep(random.up_to(std::time::Duration::from_millis(100)));
        }
        if let Ok(uuid) = fs::read_to_string(self.rkt.path(&file)) {
            self.uuids.lock().expect("no panic with the lock").insert(uuid);
        }
    }

    fn prepare_pod(&self, random: &mut Random) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let output = self.rkt.run(self.with_images("prepare", &["--quiet"]));
        expect_done_or_refused("prepare", &output);
        let uuid = output.out().trim().to_owned();
        self.uuids.lock().expect("no panic with the lock").insert(uuid.clone());
        if random.below(4) > 0 {
            self.start(&["run-prepared".to_owned(), uuid], &number.to_string());
        }
    }

    /// Lets a pod end, in one of the ways in which pods end.
    fn end_pod(&self, random: &mut Random) {
        let started = {
            let mut running = self.running.lock().expect("no panic with the lock");
            if running.is_empty() {
                return;
            }
            let index = random.below(running.len());
            running.swap_remove(index)
        };
        match random.below(3) {
            0 => started.run.send_group(Signal::SIGKILL),
            _ => fs::remove_file(&started.hold).expect("removing"),
        }
        finish(started);
    }

    /// One command, chosen at random.
    fn step(&self, random: &mut Random) {
        let uuid = self.a_pod(random);
        let run = |words: &[&str]| expect_done_or_refused(words[0], &self.rkt.run(words));
        match random.below(20) {
            0..4 => self.run_pod(random),
            4..6 => self.prepare_pod(random),
            6..8 => self.end_pod(random),
            8 => run(&["list", "--full"]),
            9 => run(&["list", "--format=json"]),
            10..12 => run(&["status", &uuid]),
            12 => run(&["stop", &uuid]),
            13 => run(&["stop", "--force", &uuid]),
            14..16 => run(&["rm", &uuid]),
            16 => run(&["gc"]),
            17 => run(&["gc", "--grace-period=0s"]),
            18 => run(&["image", "gc"]),
            _ => run(&["image", "list"]),
        }
    }
}

/// The pod's end is its own, a signal, or a refusal because another shell removed it first.
fn finish(started: Started) {
    let output = started.run.finish(limit(60));
    let killed =
        [Signal::SIGKILL, Signal::SIGTERM].map(|signal| 128 + signal as i32).contains(&output.code());
    expect_known("run-prepared", &output);
    assert!(killed || [0, RKT_FAILED].contains(&output.code()), "{output:?}");
}

#[test]
fn pods_that_eight_shells_start_stop_and_collect_at_once_leave_nothing() {
    let (host, mut random) = (Host::new(), Random::new());

    thread::scope(|scope| {
        for _ in 0..SHELLS {
            let (host, mut random) = (&host, random.fork());
            scope.spawn(move || {
                while host.started.load(Ordering::Relaxed) < PODS {
                    host.step(&mut random);
                }
            });
        }
    });

    let rkt = &host.rkt;
    for started in host.running.into_inner().expect("no panic with the lock") {
        let _ = fs::remove_file(&started.hold);
        finish(started);
    }
    for _ in 0..2 {
        expect_done_or_refused("gc", &rkt.run(["gc", "--grace-period=0s", "--expire-prepared=0s"]));
    }
    for stage in ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"] {
        assert_eq!(rkt.pods_in(stage), Vec::<String>::new(), "in {stage}");
    }
    let left = leaks::below(&rkt.data().join("pods"));
    assert!(left.is_empty(), "left behind: {left:#?}");
    cas::check(&rkt.data());
    expect_done_or_refused("image", &rkt.run(["image", "gc", "--grace-period=0s"]));
    assert_eq!(cas::files(&rkt.data().join("cas/tree")), Vec::<PathBuf>::new());
}

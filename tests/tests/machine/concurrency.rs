//! Eight shells that start, stop, list, remove and collect pods in a random order, with real virtual machines: no command
//! fails but for a reason that the reference knows and another shell gave it, and nothing is left on the host.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use rkt_tests::command::{Finished, Running, limit};
use rkt_tests::leaks;
use rkt_tests::messages::{expect_done_or_refused, expect_known};
use rkt_tests::random::Random;
use rkt_tests::rkt::RKT_FAILED;

use crate::pod::{INSPECT, fresh_path, rkt};

/// Pods started in all, and shells.
const PODS: usize = 50;
const SHELLS: usize = 8;

/// Virtual machines at a time: an emulated machine has one processor for all of them.
const AT_A_TIME: usize = 6;

#[derive(Default)]
struct Host {
    started: AtomicUsize,
    running: Mutex<Vec<Running>>,
    /// Every pod's UUID, also of those that are gone.
    uuids: Mutex<BTreeSet<String>>,
}

impl Host {
    fn a_pod(&self, random: &mut Random) -> String {
        let uuids = self.uuids.lock().expect("no panic with the lock");
        if uuids.is_empty() {
            return "no-such-pod".to_owned();
        }
        uuids.iter().nth(random.below(uuids.len())).expect("it is below the length").clone()
    }

    fn start_pod(&self, random: &mut Random) {
        let mut running = self.running.lock().expect("no panic with the lock");
        if running.len() >= AT_A_TIME {
            drop(running);
            return self.end_pod(random);
        }
        self.started.fetch_add(1, Ordering::Relaxed);
        let file = fresh_path("uuid");
        let save = format!("--uuid-file-save={}", file.display());
        let steps: &[&str] =
            if random.below(3) == 0 { &["print-msg", "hello"] } else { &["sleep", "100000"] };
        let words =
            [&["run", "--insecure-options=image", "--net=none", &save, INSPECT, "--"], steps].concat();
        let mut pod = rkt().start(words);
        let uuid = rkt().wait_for_uuid(&mut pod, &file);
        running.push(pod);
        drop(running);
        self.uuids.lock().expect("no panic with the lock").insert(uuid);
    }

    /// Ends a pod whose owner has waited long enough.
    fn end_pod(&self, random: &mut Random) {
        let pod = {
            let mut running = self.running.lock().expect("no panic with the lock");
            if running.is_empty() {
                return;
            }
            let index = random.below(running.len());
            running.swap_remove(index)
        };
        end(pod, if random.below(3) == 0 { Signal::SIGKILL } else { Signal::SIGTERM });
    }

    /// One command, chosen at random.
    fn step(&self, random: &mut Random) {
        let uuid = self.a_pod(random);
        let run = |words: &[&str]| expect_done_or_refused(words[0], &rkt().run(words));
        match random.below(16) {
            0..5 => self.start_pod(random),
            5..7 => self.end_pod(random),
            7 => run(&["list", "--full"]),
            8 => run(&["list", "--format=json"]),
            9 => run(&["status", &uuid]),
            10..12 => run(&["stop", &uuid]),
            12 => run(&["stop", "--force", &uuid]),
            13 => run(&["rm", &uuid]),
            14 => run(&["gc"]),
            _ => run(&["gc", "--grace-period=0s"]),
        }
    }
}

/// A pod ends by itself, by the signal, or because another shell stopped it; an app that is killed gives the signal's number.
fn end(mut pod: Running, signal: Signal) {
    if !pod.has_ended() {
        pod.send(signal);
    }
    let output: Finished = pod.finish(limit(60));
    // Before stage1 has taken over, the signal ends rkt itself, in the middle of whatever it or its helpers say; `stop --force`
    // of another shell may have been quicker.
    if output.status.signal().is_none() {
        expect_known("run", &output);
    }
    let (ended, killed) = (128 + signal as i32, 128 + Signal::SIGKILL as i32);
    let codes = [0, Signal::SIGTERM as i32, Signal::SIGKILL as i32, ended, killed, RKT_FAILED];
    assert!(codes.contains(&output.code()), "{output:?}");
}

#[test]
fn pods_that_eight_shells_start_stop_and_collect_at_once_leave_nothing() {
    rkt();
    let (before, mut random, host) = (leaks::Host::now(), Random::new(), Host::default());

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

    let Host { started, running, uuids } = host;
    for pod in running.into_inner().expect("no panic with the lock") {
        end(pod, Signal::SIGTERM);
    }
    for _ in 0..2 {
        expect_done_or_refused("gc", &rkt().run(["gc", "--grace-period=0s", "--expire-prepared=0s"]));
    }
    assert!(started.into_inner() >= PODS);
    for uuid in uuids.into_inner().expect("no panic with the lock") {
        for stage in fs::read_dir(rkt().data().join("pods")).expect("listing").flatten() {
            assert!(!stage.path().join(&uuid).exists(), "{uuid} is still in {}", stage.path().display());
        }
    }
    let left = before.left();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

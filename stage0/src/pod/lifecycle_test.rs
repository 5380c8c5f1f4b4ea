//! States come from a directory and a lock, seen from another open of the same directory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::lifecycle::{Pod, mark};
use super::locate::Pods;
use super::lock;
use super::state::{Stage, State};

fn state_of(pods: &Pods, uuid: uuid::Uuid) -> Option<State> {
    pods.open(uuid, Stage::Embryo).unwrap().map(|pod| pod.state())
}

#[test]
fn a_pod_is_preparing_then_running_while_its_lock_is_held_and_exited_when_it_is_dropped() {
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());

    let pod = Pod::create(&pods).unwrap();
    let uuid = pod.uuid();
    assert_eq!(state_of(&pods, uuid), Some(State::Preparing));

    let pod = pod.into_run().unwrap();
    assert_eq!(state_of(&pods, uuid), Some(State::Running));

    drop(pod);
    assert_eq!(state_of(&pods, uuid), Some(State::Exited));
}

#[test]
fn a_pod_whose_preparation_is_dropped_is_an_aborted_prepare() {
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());

    let uuid = Pod::create(&pods).unwrap().uuid();

    assert_eq!(state_of(&pods, uuid), Some(State::AbortedPrepare));
}

#[test]
fn a_lock_inherited_by_another_process_keeps_the_pod_running_until_that_process_ends() {
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());
    let pod = Pod::create(&pods).unwrap().into_run().unwrap();
    let uuid = pod.uuid();

    let lock = pod.into_lock();
    let mut child = std::process::Command::new("sleep").arg("60").stdin(lock).spawn().unwrap();
    let while_it_runs = state_of(&pods, uuid);
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(while_it_runs, Some(State::Running));
    assert_eq!(state_of(&pods, uuid), Some(State::Exited));
}

#[test]
fn marking_a_pod_twice_is_no_error() {
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());
    let uuid = Pod::create(&pods).unwrap().into_run().unwrap().uuid();
    let pod = pods.open(uuid, Stage::Run).unwrap().unwrap();

    let first = mark(&pods, &pod, Stage::ExitedGarbage).unwrap();
    let second = mark(&pods, &pod, Stage::ExitedGarbage).unwrap();

    assert!(first && !second);
    assert_eq!(state_of(&pods, uuid), Some(State::ExitedGarbage));
}

#[test]
fn a_pod_can_be_created_while_gc_collects_whatever_is_not_locked_yet() {
    /// As many lost races as make it likely that both windows, before and after the open, were hit.
    const LOST_RACES: usize = 20;
    const MAX_TRIES: usize = 200_000;
    let data = tempfile::tempdir().unwrap();
    let pods = Pods::of(data.path());
    pods.create_stages().unwrap();
    let (done, collected) = (AtomicBool::new(false), AtomicUsize::new(0));

    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for uuid in pods.list(&[Stage::Embryo]).unwrap().into_keys() {
                    let Some(pod) = pods.open(uuid, Stage::Embryo).unwrap() else { continue };
                    if pod.stage() == Stage::Embryo
                        && lock::try_lock_exclusive(pod.directory()).unwrap()
                        && mark(&pods, &pod, Stage::Garbage).unwrap()
                    {
                        collected.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let outcome = (0..MAX_TRIES)
            .take_while(|_| collected.load(Ordering::Relaxed) < LOST_RACES)
            .try_for_each(|_| Pod::create(&pods).map(drop));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });

    assert!(collected.into_inner() >= LOST_RACES, "gc was never fast enough to try this");
}

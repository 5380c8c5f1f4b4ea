//! States come from a directory and a lock, seen from another open of the same directory.

use super::lifecycle::{Pod, mark};
use super::locate::Pods;
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

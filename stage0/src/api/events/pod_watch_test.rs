use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::history::History;
use super::pod_watch;
use crate::api::wire::EventType::{self, *};
use crate::log::Log;
use crate::pod::lifecycle::{Pod, mark};
use crate::pod::locate::Pods;
use crate::pod::state::Stage;

/// Long enough for a busy machine, and shorter than a sweep: what a notice should show must not be found by one.
const PATIENCE: Duration = Duration::from_secs(20);

fn watched(data: &Path) -> Arc<History> {
    let history = Arc::new(History::default());
    pod_watch::start(data, Arc::clone(&history), Log::new("test", false)).unwrap();
    history
}

/// Waits for so many events.
fn wait(history: &History, count: usize) -> Vec<EventType> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = history.from(0, usize::MAX).unwrap();
        if events.len() >= count || Instant::now() > deadline {
            return events.into_iter().map(|event| event.r#type()).collect();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_life_is_followed_from_before_any_directory_is_there() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("not/there/yet");
    let history = watched(&data);
    let pods = Pods::of(&data);

    let pod = Pod::create(&pods).unwrap().into_run().unwrap();
    let uuid = pod.uuid();
    assert_eq!(wait(&history, 2), [PodPrepared, PodStarted]);
    drop(pod);
    assert_eq!(wait(&history, 3).last(), Some(&PodExited), "nothing but a lock has ended");
    mark(&pods, &pods.open(uuid, Stage::Run).unwrap().unwrap(), Stage::ExitedGarbage).unwrap();
    std::fs::remove_dir_all(pods.path(Stage::ExitedGarbage, uuid)).unwrap();

    assert_eq!(wait(&history, 4), [PodPrepared, PodStarted, PodExited, PodGarbageCollected]);
}

#[test]
fn a_preparation_that_is_given_up_is_noticed() {
    let data = TempDir::new().unwrap();
    let pods = Pods::of(data.path());
    pods.create_stages().unwrap();
    let history = watched(data.path());

    drop(Pod::create(&pods).unwrap());

    assert_eq!(wait(&history, 1), [PodPrepareAborted]);
}

#[test]
fn what_is_there_at_the_start_is_no_event() {
    let data = TempDir::new().unwrap();
    let pods = Pods::of(data.path());
    let old = Pod::create(&pods).unwrap().into_run().unwrap();

    let history = watched(data.path());
    drop(old);

    assert_eq!(wait(&history, 1), [PodExited]);
}

#[test]
fn many_pods_at_once_lose_no_event() {
    const PODS: usize = 200;
    let data = TempDir::new().unwrap();
    let pods = Pods::of(data.path());
    let history = watched(data.path());

    for _ in 0..PODS {
        drop(Pod::create(&pods).unwrap().into_run().unwrap());
    }

    let events = wait(&history, 3 * PODS);
    for kind in [PodPrepared, PodStarted, PodExited] {
        assert_eq!(events.iter().filter(|event| **event == kind).count(), PODS, "{kind:?}");
    }
    assert_eq!(events.len(), 3 * PODS);
}

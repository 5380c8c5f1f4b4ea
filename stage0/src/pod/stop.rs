//! Stopping a running pod through its stage1.
//!
//! Responsible for: calling stage1's stop, and an end to the waiting whatever that stage1 does. Must not know: how the pod's
//! apps are stopped; what is printed. Follows rkt-reference.md 4.6.

use std::time::{Duration, Instant};

use super::locate::{FoundPod, Pods};
use super::state::State;
use crate::error::{Result, Stage0Error};
use crate::fault;
use crate::stage1::call::{Ended, Stage1Process, stop_arguments};
use crate::stage1::{Entrypoint, Stage1Manifest};

/// How often the pod and stage1's stop are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long to wait for a stage1.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For its stop.
    stop: Duration,
    /// For the pod's end behind a stop that only asks, and for a stop that does not notice the pod's end.
    grace: Duration,
}

/// Apps have 90 s between SIGTERM and SIGKILL (rkt-reference.md 6.8), and as long again.
const ORDERLY: Limits = Limits { stop: Duration::from_secs(180), grace: Duration::from_secs(10) };
/// `--force` asks nobody.
const FORCED: Limits = Limits { stop: Duration::from_secs(30), grace: Duration::from_secs(10) };

/// From the moment that a pod counts as running to its first process, on an overloaded host.
const START_LIMIT: Duration = Duration::from_secs(10);

/// When the pod was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// By this call.
    Now,
    /// It was not running any more.
    Before,
}

/// Stops a pod that was running when it was found. Returns when it is down, or when stage1 says that it did its part and the
/// pod is not down shortly after. Errors: stage1 cannot stop pods, fails or hangs, and the pod still runs.
pub fn stop(pods: &Pods, pod: &FoundPod, force: bool) -> Result<Stopped> {
    stop_within(if force { FORCED } else { ORDERLY }, pods, pod, force)
}

fn stop_within(limits: Limits, pods: &Pods, pod: &FoundPod, force: bool) -> Result<Stopped> {
    if !is_running(pods, pod)? {
        return Ok(Stopped::Before);
    }
    let outcome = call_stage1(limits, pods, pod, force);
    if let Err(error) = outcome {
        // The pod may end, and be collected, between any two steps above.
        return if is_running(pods, pod)? { Err(error) } else { Ok(Stopped::Before) };
    }
    let deadline = Instant::now() + limits.grace;
    while is_running(pods, pod)? && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    fault::point("stop.returned");
    Ok(Stopped::Now)
}

fn call_stage1(limits: Limits, pods: &Pods, pod: &FoundPod, force: bool) -> Result<()> {
    let manifest = pod.stage1_manifest()?;
    let entrypoint = Stage1Manifest(&manifest).entrypoint(Entrypoint::Stop).map_err(|error| {
        Stage0Error::refused(format!("rkt stop not implemented for pod's stage1: {error}"))
    })?;
    let arguments = stop_arguments(force, &pod.uuid().to_string());
    let mut process = Stage1Process::start(pod.path(), entrypoint, &arguments)?;
    fault::point("stop.called");
    let mut deadline = Instant::now() + limits.stop;
    let mut pod_ended = false;
    loop {
        match process.poll()? {
            Some(Ended::Well) => return Ok(()),
            Some(Ended::Badly(how)) => return Err(Stage0Error::refused(how)),
            None => {}
        }
        if !pod_ended && !is_running(pods, pod)? {
            pod_ended = true;
            deadline = deadline.min(Instant::now() + limits.grace);
        }
        if Instant::now() >= deadline {
            if pod_ended {
                return Ok(());
            }
            return Err(Stage0Error::refused(format!(
                "stage1's stop did not end within {}",
                crate::clock::go_duration(limits.stop)
            )));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until stage1 has said which process a running pod is, as its stop needs to know it. One that never does is left
/// to that stop to complain about.
pub fn wait_for_start(pods: &Pods, pod: &FoundPod) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while pod.pid().is_none() && Instant::now() < deadline && is_running(pods, pod)? {
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn is_running(pods: &Pods, pod: &FoundPod) -> Result<bool> {
    Ok(pod.again(pods)?.is_some_and(|pod| pod.state() == State::Running))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::pod::lifecycle::{Pod, Run};
    use crate::pod::state::Stage;

    const BRIEF: Limits = Limits { stop: Duration::from_millis(200), grace: Duration::from_millis(50) };

    /// A running pod whose stage1 has this stop; the pod ends when the first value is dropped.
    fn pod(data: &Path, script: &str) -> (Pod<Run>, Pods, FoundPod) {
        let pods = Pods::of(data);
        let held = Pod::create(&pods).unwrap().into_run().unwrap();
        let root = held.path().join("stage1/rootfs");
        std::fs::create_dir_all(&root).unwrap();
        let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/s",
            "annotations":[{"name":"coreos.com/rkt/stage1/stop","value":"/stop"}]}"#;
        std::fs::write(held.path().join("stage1/manifest"), manifest).unwrap();
        std::fs::write(root.join("stop"), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(root.join("stop"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = pods.open(held.uuid(), Stage::Run).unwrap().unwrap();
        (held, pods, found)
    }

    #[test]
    fn a_stop_that_hangs_is_killed_and_is_an_error_as_long_as_the_pod_runs() {
        let data = tempfile::tempdir().unwrap();
        let (_held, pods, found) = pod(data.path(), "echo $$ >stopping; exec sleep 1000");

        let error = stop_within(BRIEF, &pods, &found, false).unwrap_err();

        assert!(error.to_string().starts_with("stage1's stop did not end within"), "{error}");
        let pid = std::fs::read_to_string(found.path().join("stopping")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn a_stop_that_only_asks_is_taken_at_its_word() {
        let data = tempfile::tempdir().unwrap();
        let (_held, pods, found) = pod(data.path(), "exit 0");

        assert_eq!(stop_within(BRIEF, &pods, &found, false).unwrap(), Stopped::Now);
    }

    #[test]
    fn a_stop_that_fails_is_none_when_the_pod_ended_meanwhile() {
        let data = tempfile::tempdir().unwrap();
        let (_held, pods, found) = pod(data.path(), "mv ../$1 ../../exited-garbage/$1; exit 1");

        assert_eq!(stop_within(BRIEF, &pods, &found, false).unwrap(), Stopped::Before);
    }
}

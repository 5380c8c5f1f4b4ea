//! Stopping a running pod through its stage1.
//!
//! Responsible for: calling stage1's stop, and an end to the waiting whatever that stage1 does. Must not know: how the pod's
//! apps are stopped; what is printed. Follows rkt-reference.md 4.6.

use std::time::{Duration, Instant};

use super::locate::{FoundPod, Pods};
use super::state::State;
use crate::error::{Context, Result, Stage0Error};
use crate::fault;
use crate::stage1::call::{Ended, Stage1Process, stop_arguments};
use crate::stage1::{Entrypoint, Stage1Manifest};

/// How often the pod and stage1's stop are looked at.
const POLL: Duration = Duration::from_millis(20);
/// For an orderly stop: apps have 90 s between SIGTERM and SIGKILL (rkt-reference.md 6.8), and as long again.
const STOP_LIMIT: Duration = Duration::from_secs(180);
/// For `--force`, which asks nobody.
const FORCED_STOP_LIMIT: Duration = Duration::from_secs(30);
/// A stop that only asks may end before the pod does; and one that hangs may not notice the pod's end.
const GRACE: Duration = Duration::from_secs(10);

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
    if !is_running(pods, pod)? {
        return Ok(Stopped::Before);
    }
    let outcome = call_stage1(pods, pod, force);
    if let Err(error) = outcome {
        // The pod may end, and be collected, between any two steps above.
        return if is_running(pods, pod)? { Err(error) } else { Ok(Stopped::Before) };
    }
    let deadline = Instant::now() + GRACE;
    while is_running(pods, pod)? && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    fault::point("stop.returned");
    Ok(Stopped::Now)
}

fn call_stage1(pods: &Pods, pod: &FoundPod, force: bool) -> Result<()> {
    let manifest = pod.stage1_manifest()?;
    let entrypoint = Stage1Manifest(&manifest)
        .entrypoint(Entrypoint::Stop)
        .context("rkt stop not implemented for pod's stage1")?;
    let arguments = stop_arguments(force, &pod.uuid().to_string());
    let mut process = Stage1Process::start(pod.path(), entrypoint, &arguments)?;
    fault::point("stop.called");
    let limit = if force { FORCED_STOP_LIMIT } else { STOP_LIMIT };
    let mut deadline = Instant::now() + limit;
    let mut pod_ended = false;
    loop {
        match process.poll()? {
            Some(Ended::Well) => return Ok(()),
            Some(Ended::Badly(how)) => return Err(Stage0Error::refused(how)),
            None => {}
        }
        if !pod_ended && !is_running(pods, pod)? {
            pod_ended = true;
            deadline = deadline.min(Instant::now() + GRACE);
        }
        if Instant::now() >= deadline {
            if pod_ended {
                return Ok(());
            }
            return Err(Stage0Error::refused(format!(
                "stage1's stop did not end within {}",
                crate::clock::go_duration(limit)
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

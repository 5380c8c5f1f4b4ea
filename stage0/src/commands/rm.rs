//! `rkt rm`.
//!
//! Responsible for: removing the pods a user names. Must not know: how a pod is deleted. Follows rkt-reference.md 1.6.

use super::pod_names::PodNames;
use super::require_superuser;
use crate::cli::EXIT_FAILURE;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::pod::collect::Collector;
use crate::pod::lifecycle::mark;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::mounts::{MountTable, Unmounter};
use crate::pod::state::{Stage, State};

/// Flags of `rkt rm`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pods: PodNames,
}

/// Removes each pod; those that can be removed are, whatever happens to the others.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let mut failed = false;
    let uuids = match arguments.pods.several() {
        Err(error) if arguments.pods.is_file() => {
            log.error(&error);
            failed = true;
            Vec::new()
        }
        uuids => uuids?,
    };
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let mut collector =
        Collector { data: &data, local_config: &globals.local_config, log, unmounter: Unmounter::default() };
    for uuid in uuids {
        match remove(&pods, &mut collector, &uuid) {
            Ok(uuid) => output::print(&format!("{uuid:?}")),
            Err(error) => {
                log.error(&error);
                failed = true;
            }
        }
    }
    if failed {
        log.print("failed to remove one or more pods");
        return Ok(EXIT_FAILURE);
    }
    Ok(0)
}

/// Removes one pod and returns its whole UUID.
fn remove(pods: &Pods, collector: &mut Collector<'_>, prefix: &str) -> Result<String> {
    let pod = pods.find_prefix(prefix).context("cannot get pod")?;
    let uuid = pod.uuid().to_string();
    remove_found(pods, collector, pod)?;
    Ok(uuid)
}

/// Removes a pod, unless it is one that must not be by the time it would be taken out of its stage.
fn remove_found(pods: &Pods, collector: &mut Collector<'_>, mut pod: FoundPod) -> Result<()> {
    let to = loop {
        let to = target(&pod)?;
        if pod.stage() == to || mark(pods, &pod, to)? {
            break to;
        }
        match pod.again(pods)? {
            None => return Ok(()),
            // Another `rm` or `gc` marked it first, and may be deleting it.
            Some(again) if matches!(again.stage(), Stage::ExitedGarbage | Stage::Garbage) => {
                break again.stage();
            }
            // `run-prepared` was faster.
            Some(again) => pod = again,
        }
    };
    match pods.open(pod.uuid(), to)? {
        Some(pod) => collector.delete(&pod, &MountTable::read()?),
        None => Ok(()),
    }
}

/// The stage that a pod is deleted from. Errors: it is in use.
fn target(pod: &FoundPod) -> Result<Stage> {
    let refuse =
        |why: &str| Err(Stage0Error::refused(format!("pod {:?} is currently {why}", pod.uuid().to_string())));
    match pod.state() {
        State::Running => refuse("running"),
        State::Embryo | State::Preparing => refuse("being prepared"),
        State::Deleting | State::ExitedDeleting => refuse("being deleted"),
        State::AbortedPrepare | State::Prepared | State::Garbage => Ok(Stage::Garbage),
        State::Exited | State::ExitedGarbage => Ok(Stage::ExitedGarbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::lifecycle::Pod;

    #[test]
    fn a_pod_that_is_run_by_the_time_it_would_be_removed_is_not_called_removed() {
        let data = tempfile::tempdir().unwrap();
        let pods = Pods::of(data.path());
        let uuid = Pod::create(&pods).unwrap().into_prepared().unwrap().uuid();
        let found = pods.open(uuid, Stage::Prepared).unwrap().unwrap();
        let running = Pod::lock(&pods, &found).unwrap().unwrap().into_run().unwrap();
        let mut collector = Collector {
            data: data.path(),
            local_config: data.path(),
            log: Log::new("rm", false),
            unmounter: Unmounter::default(),
        };

        let error = remove_found(&pods, &mut collector, found).unwrap_err();

        assert_eq!(error.to_string(), format!("pod \"{uuid}\" is currently running"));
        assert!(running.path().exists());
    }
}

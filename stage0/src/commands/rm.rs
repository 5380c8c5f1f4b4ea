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
use crate::pod::locate::Pods;
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
    let refuse = |why: &str| Err(Stage0Error::refused(format!("pod {uuid:?} is currently {why}")));
    let to = match pod.state() {
        State::Running => return refuse("running"),
        State::Embryo | State::Preparing => return refuse("being prepared"),
        State::Deleting | State::ExitedDeleting => return refuse("being deleted"),
        State::AbortedPrepare | State::Prepared | State::Garbage => Stage::Garbage,
        State::Exited | State::ExitedGarbage => Stage::ExitedGarbage,
    };
    if pod.stage() != to {
        mark(pods, &pod, to)?;
    }
    if let Some(pod) = pods.open(pod.uuid(), to)? {
        collector.delete(&pod, &MountTable::read()?)?;
    }
    Ok(uuid)
}

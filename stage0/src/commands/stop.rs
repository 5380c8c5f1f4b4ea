//! `rkt stop`.
//!
//! Responsible for: stopping the pods a user names, one after the other, and what is said about each. Must not know: how
//! stage1 stops a pod. Follows rkt-reference.md 1.6 and 4.6.

use super::pod_names::{EXIT_UUID_FILE, PodNames};
use crate::cli::EXIT_FAILURE;
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::pod::locate::Pods;
use crate::pod::state::State;
use crate::pod::stop::{Stopped, stop, wait_for_start};

/// Flags of `rkt stop`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// forced stopping
    #[arg(long, switch = false)]
    force: bool,

    #[command(flatten)]
    pods: PodNames,
}

/// Stops each pod; those that can be stopped are, whatever happens to the others.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let uuids = match arguments.pods.several() {
        Err(error) if arguments.pods.is_file() => {
            log.error(&error);
            return Ok(EXIT_UUID_FILE);
        }
        uuids => uuids?,
    };
    let pods = Pods::of(&config::data_directory(globals)?);
    let mut failed = 0_usize;
    for uuid in uuids {
        if let Err(error) = stop_one(&pods, &uuid, arguments.force) {
            log.error(&error);
            failed += 1;
        }
    }
    if failed > 0 {
        log.print(format!("failed to stop {failed} pod(s)"));
        return Ok(EXIT_FAILURE);
    }
    Ok(0)
}

fn stop_one(pods: &Pods, prefix: &str, force: bool) -> Result<()> {
    let pod = pods.find_prefix(prefix).context("cannot get pod")?;
    let uuid = pod.uuid().to_string();
    if !pod.state().is_after_run() && pod.state() != State::Running {
        return Err(Stage0Error::refused(format!("pod {uuid:?} is not running")));
    }
    wait_for_start(pods, &pod)?;
    match stop(pods, &pod, force).context(format!("error stopping {uuid:?}"))? {
        Stopped::Now => output::print(&format!("{uuid:?}")),
        Stopped::Before => output::print(&format!("pod {uuid:?} is already stopped")),
    }
    Ok(())
}

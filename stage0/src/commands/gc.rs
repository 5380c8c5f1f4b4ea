//! `rkt gc`.
//!
//! Responsible for: which pods are due, in rkt's order. Must not know: how a pod is deleted. Follows
//! rkt-reference.md 2.7.

use std::time::{Duration, SystemTime};

use super::require_superuser;
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_period;
use crate::clock;
use crate::config;
use crate::error::{Context, FileContext, Result};
use crate::log::Log;
use crate::output;
use crate::pod::collect::Collector;
use crate::pod::lifecycle::mark;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::lock;
use crate::pod::mounts::{MountTable, Unmounter};
use crate::pod::state::{Stage, State};

/// Flags of `rkt gc`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// duration to wait before discarding inactive pods from garbage
    #[arg(long, default_value = "30m", value_parser = parse_period)]
    grace_period: Duration,

    /// duration to wait before expiring prepared pods
    #[arg(long, default_value = "24h", value_parser = parse_period)]
    expire_prepared: Duration,

    /// if set to true, then the exited/aborted pods will be moved to the garbage directories without actually deleting them, this is useful for marking the exit time of a pod
    #[arg(long, switch = false)]
    mark_only: bool,
}

/// Marks what ended and deletes what was marked long enough ago. Trouble with one pod does not keep the others.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let run = Run { pods: &pods, log };
    run.mark_exited()?;
    run.mark_aborted()?;
    if arguments.mark_only {
        return Ok(0);
    }
    run.mark_expired(arguments.expire_prepared)?;
    let mounts = MountTable::read()?;
    let mut collector =
        Collector { data: &data, local_config: &globals.local_config, log, unmounter: Unmounter::default() };
    run.delete_exited(&mut collector, &mounts, arguments.grace_period)?;
    run.delete_garbage(&mut collector, &mounts)?;
    Ok(0)
}

struct Run<'a> {
    pods: &'a Pods,
    log: Log,
}

impl Run<'_> {
    fn each(&self, stage: Stage, mut act: impl FnMut(&FoundPod) -> Result<()>) -> Result<()> {
        for uuid in self.pods.list(&[stage]).context("failed to get pod handles")?.into_keys() {
            let outcome = match self.pods.open(uuid, stage) {
                Ok(Some(pod)) if pod.stage() == stage => act(&pod),
                // It moved on or is gone: somebody else's gc was faster.
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.log.error(&error);
            }
        }
        Ok(())
    }

    fn mark_exited(&self) -> Result<()> {
        self.each(Stage::Run, |pod| {
            if pod.state() == State::Exited {
                self.log.print(format!("moving pod {:?} to garbage", pod.uuid().to_string()));
                mark(self.pods, pod, Stage::ExitedGarbage)?;
            }
            Ok(())
        })
    }

    fn mark_aborted(&self) -> Result<()> {
        self.each(Stage::Prepare, |pod| {
            if pod.state() == State::AbortedPrepare {
                self.log.print(format!("moving failed prepare {:?} to garbage", pod.uuid().to_string()));
                mark(self.pods, pod, Stage::Garbage)?;
            }
            Ok(())
        })?;
        // A process killed between making and locking a pod leaves an embryo. One that is about to lock finds its
        // embryo gone and makes another.
        self.each(Stage::Embryo, |pod| {
            if lock::try_lock_exclusive(pod.directory()).file("lock", pod.path())? {
                mark(self.pods, pod, Stage::Garbage)?;
            }
            Ok(())
        })
    }

    fn mark_expired(&self, expire: Duration) -> Result<()> {
        self.each(Stage::Prepared, |pod| {
            if Self::is_over(pod, expire)? {
                self.log
                    .print(format!("moving expired prepared pod {:?} to garbage", pod.uuid().to_string()));
                mark(self.pods, pod, Stage::Garbage)?;
            }
            Ok(())
        })
    }

    fn delete_exited(
        &self,
        collector: &mut Collector<'_>,
        mounts: &MountTable,
        grace: Duration,
    ) -> Result<()> {
        self.each(Stage::ExitedGarbage, |pod| {
            if Self::is_over(pod, grace)? {
                delete(collector, pod, mounts)
            } else {
                self.log.print(format!(
                    "pod {:?} not removed: still within grace period ({})",
                    pod.uuid().to_string(),
                    clock::go_duration(grace)
                ));
                Ok(())
            }
        })
    }

    fn delete_garbage(&self, collector: &mut Collector<'_>, mounts: &MountTable) -> Result<()> {
        self.each(Stage::Garbage, |pod| delete(collector, pod, mounts))
    }

    /// Whether a pod was last moved longer ago than `period`. A rename changes the directory's ctime, so the time
    /// counts from the marking and not from the pod's end.
    fn is_over(pod: &FoundPod, period: Duration) -> Result<bool> {
        Ok(pod.changed_time()? + period <= SystemTime::now())
    }
}

fn delete(collector: &mut Collector<'_>, pod: &FoundPod, mounts: &MountTable) -> Result<()> {
    output::print(&format!("Garbage collecting pod {:?}", pod.uuid().to_string()));
    collector.delete(pod, mounts).context(format!("unable to remove pod {}", pod.uuid()))
}

//! `rkt run-prepared`.
//!
//! Responsible for: the walk from a prepared pod to stage1, in rkt's order. Must not know: how each step works. Follows
//! rkt-reference.md 1.6.

use super::require_superuser;
use crate::cli::globals::GlobalFlags;
use crate::cli::launch_flags::LaunchFlags;
use crate::config;
use crate::error::{Result, Stage0Error};
use crate::log::Log;
use crate::pod::launch::{Launch, Umask};
use crate::pod::lifecycle::{Pod, Prepared};
use crate::pod::locate::Pods;

/// Flags of `rkt run-prepared`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    launch: LaunchFlags,

    /// The pod.
    pub uuid: Vec<String>,
}

/// Runs a prepared pod. Returns only if that fails; the pod is still prepared then, unless it failed in its very start.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let [prefix] = arguments.uuid.as_slice() else {
        return Err(Stage0Error::refused("must provide exactly one UUID"));
    };
    let settings = arguments.launch.settings(globals).map_err(Stage0Error::refused)?;

    let umask = Umask::share();
    let data = config::data_directory(globals)?;
    let pods = Pods::of(&data);
    let found = pods.resolve(prefix)?;
    let not_prepared = || Stage0Error::refused(format!("pod {:?} is not prepared", found.uuid().to_string()));
    let pod: Pod<Prepared> = Pod::lock(&pods, &found)?.ok_or_else(not_prepared)?;
    settings.check_services()?;
    let launch = Launch::check(&pod, settings, &data, umask, log)?;
    Err(launch.exec(pod.into_run()?))
}

//! `rkt run`.
//!
//! Responsible for: the walk from arguments to stage1, in rkt's order. Must not know: how each step works. Follows
//! rkt-reference.md 1.6.

use std::path::PathBuf;

use super::preparation::Preparation;
use super::require_superuser;
use crate::cli::apps::AppList;
use crate::cli::globals::GlobalFlags;
use crate::cli::launch_flags::LaunchFlags;
use crate::cli::pod_flags::{PrepareFlags, Stage1Flags};
use crate::config;
use crate::error::{Result, Stage0Error};
use crate::log::Log;
use crate::pod::launch::{Launch, Umask};
use crate::pod::uuid_file;

/// Flags of `rkt run`, and from the first image on everything else.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    prepare: PrepareFlags,

    #[command(flatten)]
    stage1: Stage1Flags,

    #[command(flatten)]
    launch: LaunchFlags,

    /// write out pod UUID to specified file
    #[arg(long, value_name = "string")]
    uuid_file_save: Option<PathBuf>,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Runs a pod. Returns only if that fails.
pub fn run(arguments: &Arguments, list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let settings = arguments.launch.settings(globals).map_err(Stage0Error::refused)?;
    if settings.interactive && list.apps.len() > 1 {
        return Err(Stage0Error::refused("interactive option only supports one image"));
    }
    for network in ["none", "host"] {
        if !arguments.prepare.port.is_empty() && settings.networks.has(network) {
            return Err(Stage0Error::refused(format!(
                "--port flag does not work with '{network}' networking"
            )));
        }
    }
    let preparation = Preparation::check(&arguments.prepare, &arguments.stage1, list)?;
    settings.check_services()?;

    let umask = Umask::share();
    let data = config::data_directory(globals)?;
    let pod = preparation.prepare(&data, globals, log, |uuid| match &arguments.uuid_file_save {
        Some(path) => uuid_file::write(path, uuid),
        None => Ok(()),
    })?;
    let launch = Launch::check(&pod, settings, &data, umask, log)?;
    Err(launch.exec(pod.into_run()?))
}

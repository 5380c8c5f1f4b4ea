//! `rkt prepare`.
//!
//! Responsible for: the walk from arguments to a pod that can be run later. Must not know: how each step works. Follows
//! rkt-reference.md 1.6.

use super::preparation::Preparation;
use super::require_superuser;
use crate::cli::apps::AppList;
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::cli::pod_flags::{PrepareFlags, Stage1Flags};
use crate::config;
use crate::error::Result;
use crate::log::Log;
use crate::output;
use crate::pod::launch::Umask;

/// Flags of `rkt prepare`, and from the first image on everything else.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    prepare: PrepareFlags,

    #[command(flatten)]
    stage1: Stage1Flags,

    /// suppress superfluous output on stdout, print only the UUID on success
    // Nothing else is ever printed there.
    #[arg(long, switch = false)]
    quiet: bool,

    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Prepares a pod and prints its UUID.
pub fn run(arguments: &Arguments, list: AppList, globals: &GlobalFlags, log: Log) -> Result<u8> {
    require_superuser()?;
    let preparation = Preparation::check(&arguments.prepare, &arguments.stage1, list)?;

    let _umask = Umask::share();
    let data = config::data_directory(globals)?;
    let pod = preparation.prepare(&data, globals, log, |_| Ok(()))?.into_prepared()?;
    output::print(&pod.uuid().to_string());
    Ok(0)
}

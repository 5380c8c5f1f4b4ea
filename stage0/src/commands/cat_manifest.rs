//! `rkt cat-manifest`.
//!
//! Responsible for: printing a pod's manifest. Must not know: what is in it. Follows rkt-reference.md 1.6.

use serde_json::Value;

use super::pod_names::PodNames;
use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::config;
use crate::error::{Context, Result};
use crate::output;
use crate::pod::locate::Pods;
use crate::pod::report::to_json;

/// Flags of `rkt cat-manifest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// apply indent to format the output
    #[arg(long, switch = true)]
    pretty_print: bool,

    #[command(flatten)]
    pod: PodNames,
}

/// Prints every member of the manifest, those that rkt does not understand too.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let pods = Pods::of(&config::data_directory(globals)?);
    let pod = pods.resolve(&arguments.pod.one()?)?;
    let json = pod.manifest_json().context("cannot read the pod manifest")?;
    let manifest: Value = serde_json::from_slice(&json).context("cannot read the pod manifest")?;
    output::print(&to_json(&manifest, arguments.pretty_print)?);
    Ok(0)
}

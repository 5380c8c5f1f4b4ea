//! `rkt app list`.
//!
//! Responsible for: the table of a pod's apps. Must not know: how their states are found out. Follows rkt-reference.md 1.6.

use crate::cli::flag::FlagKind;
use crate::cli::globals::GlobalFlags;
use crate::error::{Context, Result, Stage0Error};
use crate::output;
use crate::pod::report::PodReport;
use crate::table;

/// Flags of `rkt app list` and the pod.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// suppress a legend with the list
    #[arg(long, switch = false)]
    no_legend: bool,

    /// The pod.
    uuid: Vec<String>,
}

/// Prints the apps.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let [uuid] = arguments.uuid.as_slice() else {
        return Err(Stage0Error::refused("must provide exactly one UUID"));
    };
    let (_, pod) = super::find(globals, uuid).context("error listing apps")?;
    let mut text = if arguments.no_legend { String::new() } else { "NAME\tSTATE\n".to_owned() };
    for app in PodReport::apps_of(&pod).context("error listing apps")? {
        text.push_str(&format!("{}\t{}\n", app.name(), app.state()));
    }
    if !text.is_empty() {
        output::print(&table::align(&text));
    }
    Ok(0)
}

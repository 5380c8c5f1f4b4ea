//! `rkt app status`.
//!
//! Responsible for: one app's state as text and JSON. Must not know: how it is found out. Follows rkt-reference.md 1.6 and 7.4.

use std::str::FromStr;

use crate::cli::flag::words;
use crate::cli::globals::GlobalFlags;
use crate::commands::format::Format;
use crate::error::{Context, Result, Stage0Error};
use crate::output;
use crate::pod::report::{PodReport, to_json};

/// Flags of `rkt app status`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    app: super::OneApp,

    /// choose the output format, allowed format includes 'json', 'json-pretty'. If empty, then the result is printed as key value pairs
    #[arg(long, value_name = "string", default_value = "", value_parser = words(Format::WORDS, Format::from_str))]
    format: Format,
}

/// Prints the status of one app.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let (uuid, app) = arguments.app.get("look at")?;
    let (_, pod) = super::find(globals, uuid).context("error getting app status")?;
    let mut apps = PodReport::apps_of(&pod).context("error getting app status")?.into_iter();
    let report = apps
        .find(|report| report.name() == app.as_str())
        .ok_or_else(|| Stage0Error::refused(format!("cannot find app {:?} in the pod", app.as_str())))?;
    output::print(&match arguments.format {
        Format::Text => report.describe(),
        Format::Json { pretty } => to_json(&report, pretty).context("error marshaling the app status")?,
    });
    Ok(0)
}

//! `rkt app stop`.
//!
//! Responsible for: which app of which pod, and stopping it. Must not know: how stage1 does that. Follows rkt-reference.md 4.7
//! and 7.4.

use crate::cli::globals::GlobalFlags;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::pod::app_add::crossing_arguments;
use crate::pod::sandbox;
use crate::stage1::Entrypoint;
use crate::stage1::crossing::Outcome;

/// Stops the app.
pub fn run(arguments: &super::OneApp, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let (uuid, app) = arguments.get("stop")?;
    let (pods, pod) = super::find(globals, uuid)?;
    if pod.state().is_after_run() {
        output::print(&format!("pod {:?} is already stopped", pod.uuid().to_string()));
        return Ok(0);
    }
    pod.expect_running()?;
    let failed = "error stopping app";
    let manifest = sandbox::manifest(&pod).context("cannot stop application").context(failed)?;
    super::expect_app(&manifest, &app).context(failed)?;
    let stage1 = pod.stage1_manifest().context(failed)?;
    let crossing = super::crossing(&pod, &stage1, super::first_process(&pods, &pod)?, log).context(failed)?;
    let arguments = crossing_arguments(globals.debug, None, app.as_str());
    match crossing.run(Entrypoint::AppStop, &arguments).context(failed)? {
        Outcome::UnknownApp => {
            Err(Stage0Error::refused(format!("app {:?} is not running", app.as_str()))).context(failed)
        }
        outcome => outcome.expect_done().context(failed).map(|()| 0),
    }
}

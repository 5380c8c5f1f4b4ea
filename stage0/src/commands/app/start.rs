//! `rkt app start`.
//!
//! Responsible for: which app of which pod. Must not know: how an app is started. Follows rkt-reference.md 7.4.

use crate::cli::globals::GlobalFlags;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::pod::app_files::AppFiles;
use crate::pod::app_start;
use crate::pod::sandbox;

/// Starts the app.
pub fn run(arguments: &super::OneApp, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let (uuid, app) = arguments.get("start")?;
    let (pods, pod) = super::find(globals, uuid)?;
    pod.expect_running()?;
    let failed = "error starting app";
    let manifest = sandbox::manifest(&pod).context("cannot start application").context(failed)?;
    super::expect_app(&manifest, &app).context(failed)?;
    let files = AppFiles { pod: &pod, app: app.as_str() };
    if files.is_incomplete() {
        return Err(Stage0Error::refused(format!(
            "app {:?} is being added or removed, or was not to the end (then \"rkt app rm\" removes it)",
            app.as_str()
        )))
        .context(failed);
    }
    let stage1 = pod.stage1_manifest().context(failed)?;
    let crossing = super::crossing(&pod, &stage1, super::first_process(&pods, &pod)?, log).context(failed)?;
    app_start::start(&files, &crossing).context(failed)?;
    Ok(0)
}

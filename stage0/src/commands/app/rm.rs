//! `rkt app rm`.
//!
//! Responsible for: which app of which pod, and that it is stopped before it is removed. Must not know: what an app consists of.
//! Follows rkt-reference.md 4.7 and 7.4.

use crate::cli::globals::GlobalFlags;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::log::Log;
use crate::pod::app_add::{crossing_arguments, take_away};
use crate::pod::launch::Umask;
use crate::pod::lock;
use crate::pod::sandbox::{self, Sandbox};
use crate::pod::state::State;
use crate::stage1::Entrypoint;
use crate::stage1::crossing::Outcome;

/// Removes the app.
pub fn run(arguments: &super::OneApp, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let (uuid, app) = arguments.get("remove")?;
    let (pods, pod) = super::find(globals, uuid)?;
    let failed = "error removing app";
    let checked = || {
        let manifest =
            sandbox::manifest(&pod).context("cannot remove application, sandbox validation failed")?;
        super::expect_app(&manifest, &app)
    };
    let is_running = match pod.state() {
        State::Running => true,
        State::Exited | State::ExitedGarbage => false,
        _ => return pod.expect_running().map(|()| 0),
    };
    checked().context(failed)?;
    let _umask = Umask::share();
    if !is_running {
        // Against `gc`, which deletes the pod with all its apps.
        if !lock::try_lock_shared(pod.directory()).file("lock", pod.path())? {
            return Err(Stage0Error::refused(format!(
                "pod {:?} is currently being deleted",
                pod.uuid().to_string()
            )));
        }
        let mut sandbox = Sandbox::lock(&pod).context(failed)?;
        super::expect_app(sandbox.manifest(), &app).context(failed)?;
        take_away(&mut sandbox, app.as_str(), None, log).context(failed)?;
        return Ok(0);
    }
    let stage1 = pod.stage1_manifest().context(failed)?;
    let crossing = super::crossing(&pod, &stage1, super::first_process(&pods, &pod)?, log).context(failed)?;
    // Not under the lock: an app may take its time, and others may be added meanwhile.
    let stop = crossing_arguments(globals.debug, None, app.as_str());
    match crossing.run(Entrypoint::AppStop, &stop).context(failed)? {
        // It has ended already.
        Outcome::UnknownApp => {}
        outcome => outcome.expect_done().context(failed)?,
    }
    let mut sandbox = Sandbox::lock(&pod).context(failed)?;
    super::expect_app(sandbox.manifest(), &app).context(failed)?;
    take_away(&mut sandbox, app.as_str(), Some(&crossing), log).context(failed)?;
    Ok(0)
}

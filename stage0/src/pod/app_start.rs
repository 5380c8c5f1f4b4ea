//! Starting an app of a running mutable pod, again if it has ended.
//!
//! Responsible for: what the pod's files say of the app meanwhile and afterwards. Must not know: how stage1 starts it. Follows
//! rkt-reference.md 4.7 and 7.4.

use std::io::ErrorKind;
use std::path::Path;

use super::app_add::crossing_arguments;
use super::app_files::AppFiles;
use super::app_state::{AppTimes, Stage};
use super::assemble::stage1_root;
use super::prepare::write;
use crate::error::{FileContext, Result, Stage0Error};
use crate::fault;
use crate::stage1::Entrypoint;
use crate::stage1::crossing::{Crossing, Outcome};

/// Starts the app. If stage1 cannot, the app is what it was before.
pub fn start(files: &AppFiles<'_>, crossing: &Crossing<'_>) -> Result<()> {
    let status = stage1_root(files.pod.path()).join("rkt/status");
    if AppTimes::of(files.pod, files.app).stage() == Stage::Running {
        // Its start is not now.
        return call(files, crossing);
    }
    // In this order nobody who looks takes the app for one that runs: its start is forgotten before its end.
    let started = (files.started(&status), files.kept_started(&status));
    let code = (files.exit_code(&status), files.kept_exit_code(&status));
    for (file, kept) in [&started, &code] {
        move_if_there(file, kept)?;
        fault::point("app.start.kept");
    }
    // Made anew: its time is that of the start.
    write(&started.0, b"", 0o644)?;
    fault::point("app.start.marked");
    let called = call(files, crossing);
    if called.is_err() {
        remove_if_there(&started.0)?;
    }
    for (file, kept) in [&code, &started] {
        match called {
            Ok(()) => remove_if_there(kept)?,
            Err(_) => move_if_there(kept, file)?,
        }
        fault::point("app.start.forgotten");
    }
    called
}

fn call(files: &AppFiles<'_>, crossing: &Crossing<'_>) -> Result<()> {
    let arguments = crossing_arguments(crossing.is_debug(), None, files.app);
    match crossing.run(Entrypoint::AppStart, &arguments)? {
        Outcome::UnknownApp => Err(Stage0Error::refused(format!("app {:?} is unknown to stage1", files.app))),
        outcome => outcome.expect_done(),
    }
}

fn move_if_there(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        moved => moved.file("move", from),
    }
}

fn remove_if_there(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.file("remove", file),
    }
}

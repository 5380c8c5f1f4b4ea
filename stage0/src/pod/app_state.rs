//! What an app of a mutable pod is doing.
//!
//! Responsible for: its state and times, by the files that stage0 and stage1 leave for it. Must not know: how they are shown.
//! Follows rkt-reference.md 2.2 and 7.2 ("mutable rules").

use std::time::SystemTime;

use super::app_files::AppFiles;
use super::locate::FoundPod;

/// What can be said of an app whose exit code cannot be read.
const UNREADABLE_CODE: i32 = 1;

/// How far an app is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not (yet, or any more) one of the pod's.
    Unknown,
    /// Never started.
    Created,
    /// Started.
    Running,
    /// Ended.
    Exited,
}

impl Stage {
    /// The text in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Unknown => "unknown",
            Stage::Created => "created",
            Stage::Running => "running",
            Stage::Exited => "exited",
        }
    }
}

/// The times of an app, and how it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppTimes {
    /// When it was added.
    pub created: Option<SystemTime>,
    /// When it was started, last.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub finished: Option<SystemTime>,
    /// How.
    pub exit_code: Option<i32>,
    is_over: bool,
}

impl AppTimes {
    /// Reads the files of an app.
    pub fn of(pod: &FoundPod, app: &str) -> Self {
        let mut times = AppTimes { is_over: pod.state().is_after_run(), ..AppTimes::default() };
        let files = AppFiles { pod, app };
        if let (Ok(status), false) = (pod.status_path(), files.is_incomplete()) {
            times.created = pod.modified(&files.created(&status));
            times.started = times.created.and_then(|_| pod.modified(&files.started(&status)));
            times.finished = times.started.and_then(|_| pod.modified(&files.exit_code(&status)));
            times.exit_code = times.finished.map(|_| pod.exit_code(app).unwrap_or(UNREADABLE_CODE));
        }
        if times.is_over && times.finished.is_none() {
            // The pod was killed.
            times.finished = pod.marked_time();
        }
        times
    }

    /// The app's state.
    pub const fn stage(&self) -> Stage {
        match (self.is_over || self.exit_code.is_some(), self.started, self.created) {
            (true, ..) => Stage::Exited,
            (false, Some(_), _) => Stage::Running,
            (false, None, Some(_)) => Stage::Created,
            (false, None, None) => Stage::Unknown,
        }
    }
}

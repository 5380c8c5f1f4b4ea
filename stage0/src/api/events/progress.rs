//! How far a pod has come, and what must have happened on the way from one look at it to the next.
//!
//! Responsible for: the difference between two looks. Must not know: how a look is taken, time. Follows rkt-reference.md
//! 2.3 and 7.1.
//!
//! A pod only ever moves forward, so what happened between two looks follows from them, however much it was: a pod that ran
//! and exited while nobody looked was prepared and started before.

use std::collections::BTreeMap;

use crate::api::wire::EventType;
use crate::pod::locate::FoundPod;
use crate::pod::state::State;

/// The phases of a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is being made.
    Preparing,
    /// Its preparation ended without success.
    Aborted,
    /// It can be run.
    Prepared,
    /// stage1 has it.
    Running,
    /// It has run.
    Exited,
    /// It never ran, and is garbage.
    Discarded,
}

/// How far an app has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppPhase {
    /// Not started.
    Waiting,
    /// Started, and not known to have ended.
    Started,
    /// Ended, with its exit code if it left one.
    Exited(Option<i32>),
}

/// What one look at a pod showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How far the pod has come.
    pub phase: Phase,
    /// Its apps by name.
    pub apps: BTreeMap<String, AppPhase>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// What it was.
    pub kind: EventType,
    /// The app it happened to; `None` if it was the pod.
    pub app: Option<String>,
    /// The app's exit code.
    pub exit_code: Option<i32>,
}

impl Phase {
    /// The phase that a state belongs to.
    pub const fn of(state: State) -> Self {
        match state {
            State::Embryo | State::Preparing => Phase::Preparing,
            State::AbortedPrepare => Phase::Aborted,
            State::Prepared => Phase::Prepared,
            State::Running => Phase::Running,
            State::Exited | State::ExitedGarbage | State::ExitedDeleting => Phase::Exited,
            State::Garbage | State::Deleting => Phase::Discarded,
        }
    }

    /// Whether the end of a lock, which no directory shows, leads to the next phase.
    pub const fn ends_with_lock(self) -> bool {
        matches!(self, Phase::Preparing | Phase::Running)
    }

    /// Whether stage1 had the pod.
    const fn has_run(self) -> bool {
        matches!(self, Phase::Running | Phase::Exited)
    }

    /// Whether the pod's preparation had succeeded.
    const fn was_prepared(self) -> bool {
        matches!(self, Phase::Prepared | Phase::Running | Phase::Exited)
    }
}

impl Progress {
    /// Looks at a pod. Of one whose files cannot be read, its state is known all the same. `before` is what the look before
    /// showed: an app that had started has, even if the files that say so are gone.
    pub fn of(pod: &FoundPod, before: Option<&Progress>) -> Self {
        let phase = Phase::of(pod.state());
        let mut apps = before.map(|before| before.apps.clone()).unwrap_or_default();
        if phase.has_run() {
            let is_ready = pod.is_ready();
            let names = pod.manifest().map(|manifest| manifest.apps).unwrap_or_default();
            for name in names.into_iter().map(|app| app.name.to_string()) {
                let known = apps.entry(name.clone()).or_insert(AppPhase::Waiting);
                *known = match (pod.exit_code(&name), *known) {
                    (Some(code), _) => AppPhase::Exited(Some(code)),
                    (None, AppPhase::Waiting) if is_ready => AppPhase::Started,
                    (None, known) => known,
                };
            }
        }
        if phase == Phase::Exited {
            end_apps(&mut apps);
        }
        Progress { phase, apps }
    }

    /// What must have happened since `before`; `None` means that nothing was known of the pod.
    pub fn since(&self, before: Option<&Progress>) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let mut pod = |kind| happenings.push(Happening { kind, app: None, exit_code: None });
        let earlier = before.map(|before| before.phase);
        let was_prepared = earlier.is_some_and(Phase::was_prepared);
        let had_run = earlier.is_some_and(Phase::has_run);
        let was_aborted = earlier == Some(Phase::Aborted);
        if self.phase.was_prepared() && !was_prepared {
            pod(EventType::PodPrepared);
        }
        let aborted_meanwhile = self.phase == Phase::Discarded && earlier == Some(Phase::Preparing);
        if (self.phase == Phase::Aborted && !was_aborted) || aborted_meanwhile {
            pod(EventType::PodPrepareAborted);
        }
        if self.phase.has_run() && !had_run {
            pod(EventType::PodStarted);
        }
        for (name, now) in &self.apps {
            let was = before.and_then(|before| before.apps.get(name)).copied().unwrap_or(AppPhase::Waiting);
            let app = |kind, exit_code| Happening { kind, app: Some(name.clone()), exit_code };
            if was == AppPhase::Waiting && *now != AppPhase::Waiting {
                happenings.push(app(EventType::AppStarted, None));
            }
            if let AppPhase::Exited(code) = *now
                && !matches!(was, AppPhase::Exited(_))
            {
                happenings.push(app(EventType::AppExited, code));
            }
        }
        if self.phase == Phase::Exited && earlier != Some(Phase::Exited) {
            happenings.push(Happening { kind: EventType::PodExited, app: None, exit_code: None });
        }
        happenings
    }

    /// What must have happened since a look at a pod that is gone.
    pub fn until_gone(&self) -> Vec<Happening> {
        let mut last = self.clone();
        last.phase = match self.phase {
            Phase::Preparing => Phase::Discarded,
            Phase::Running => Phase::Exited,
            phase => phase,
        };
        if last.phase == Phase::Exited {
            end_apps(&mut last.apps);
        }
        let mut happenings = last.since(Some(self));
        happenings.push(Happening { kind: EventType::PodGarbageCollected, app: None, exit_code: None });
        happenings
    }
}

/// No app outlives its pod.
fn end_apps(apps: &mut BTreeMap<String, AppPhase>) {
    for app in apps.values_mut().filter(|app| **app == AppPhase::Started) {
        *app = AppPhase::Exited(None);
    }
}

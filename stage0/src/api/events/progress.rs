//! How far a pod has come, and what must have happened on the way from one look at it to the next.
//!
//! Responsible for: the difference between two looks. Must not know: how a look is taken, time. Follows rkt-reference.md
//! 2.3 and 7.1.
//!
//! A pod only ever moves forward, so what happened between two looks follows from them, however much it was: a pod that ran
//! and exited while nobody looked was prepared and started before.

use std::collections::BTreeMap;
use std::time::SystemTime;

use appc::PodManifest;

use crate::api::wire::EventType;
use crate::pod::app_state::AppTimes;
use crate::pod::locate::FoundPod;
use crate::pod::manifest::is_mutable;
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
    Started(Start),
    /// Ended, with its exit code if it left one.
    Exited(Start, Option<i32>),
}

/// Which of its starts an app has had; it has only one in an immutable pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start(pub Option<SystemTime>);

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
            match pod.manifest() {
                Ok(manifest) if is_mutable(&manifest).unwrap_or(false) => {
                    // Those that are gone have been taken out of the pod.
                    let names = manifest.apps.iter().map(|app| app.name.to_string());
                    apps = names.map(|name| (name.clone(), own_phase(pod, &name))).collect();
                }
                Ok(manifest) => look_at_apps(pod, &manifest, &mut apps),
                Err(_) => {}
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
            app_since(name, *now, was, &mut happenings);
        }
        for (name, was) in before.iter().flat_map(|before| &before.apps) {
            if !self.apps.contains_key(name) {
                app_since(name, AppPhase::Waiting, *was, &mut happenings);
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

/// The apps of an immutable pod start with it.
fn look_at_apps(pod: &FoundPod, manifest: &PodManifest, apps: &mut BTreeMap<String, AppPhase>) {
    let is_ready = pod.is_ready();
    for name in manifest.apps.iter().map(|app| app.name.to_string()) {
        let known = apps.entry(name.clone()).or_insert(AppPhase::Waiting);
        *known = match (pod.exit_code(&name), *known) {
            (Some(code), _) => AppPhase::Exited(Start::default(), Some(code)),
            (None, AppPhase::Waiting) if is_ready => AppPhase::Started(Start::default()),
            (None, known) => known,
        };
    }
}

/// Each app of a mutable pod has a life of its own.
fn own_phase(pod: &FoundPod, app: &str) -> AppPhase {
    let times = AppTimes::of(pod, app);
    match (times.started, times.exit_code) {
        (None, _) => AppPhase::Waiting,
        (started, None) => AppPhase::Started(Start(started)),
        (started, code) => AppPhase::Exited(Start(started), code),
    }
}

/// What must have happened to an app that was in one phase and is in another.
fn app_since(name: &str, now: AppPhase, was: AppPhase, happenings: &mut Vec<Happening>) {
    let mut tell =
        |kind, exit_code| happenings.push(Happening { kind, app: Some(name.to_owned()), exit_code });
    let start = |phase| match phase {
        AppPhase::Waiting => None,
        AppPhase::Started(start) | AppPhase::Exited(start, _) => Some(start),
    };
    let same_run = start(now) == start(was);
    if matches!(was, AppPhase::Started(_)) && !same_run {
        tell(EventType::AppExited, None);
    }
    if start(now).is_some() && !same_run {
        tell(EventType::AppStarted, None);
    }
    if let AppPhase::Exited(_, code) = now
        && !(same_run && matches!(was, AppPhase::Exited(..)))
    {
        tell(EventType::AppExited, code);
    }
}

/// No app outlives its pod.
fn end_apps(apps: &mut BTreeMap<String, AppPhase>) {
    for app in apps.values_mut() {
        if let AppPhase::Started(start) = *app {
            *app = AppPhase::Exited(start, None);
        }
    }
}

//! Watching pods.
//!
//! Responsible for: which directories are watched, and when a pod is looked at. Must not know: what a look tells
//! ([`progress`](super::progress)), listeners. Follows rkt-reference.md 2.1 to 2.4, inotify(7), flock(2).
//!
//! A pod's stage shows in the directory it is in. That its preparation was aborted or that it exited shows in nothing but the end of
//! a lock, of which the kernel tells nobody; but the lock ends when the last descriptor of the directory is closed, and of that it
//! does. It tells a moment before the lock is gone, so the lock is probed again a little later. The probe uses a descriptor that stays
//! open, because closing one would be the next notice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::inotify::WatchFlags;
use uuid::Uuid;

use super::history::History;
use super::notices::{Notice, Notices, Watch};
use super::progress::{Happening, Phase, Progress};
use super::{SWEEP, UNWATCHED_SWEEP};
use crate::api::wire::{Event, KeyValue};
use crate::clock::unix_seconds;
use crate::error::Result;
use crate::log::Log;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::lock;
use crate::pod::state::Stage;

/// When a pod is looked at again after a notice: the lock goes and a file gets its content a moment after the notice.
const LATER: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_millis(1000)];

/// What is known of a pod.
#[derive(Debug)]
struct Known {
    progress: Progress,
    /// The pod, as long as the end of its lock matters.
    locked: Option<FoundPod>,
    watches: BTreeSet<Watch>,
}

/// What a watched directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// The pods of a stage, or what is above them as long as they are not there.
    Stages,
    /// A pod, or a directory in it.
    Pod(Uuid),
}

/// Looks that are still to be taken at a pod.
#[derive(Debug, Clone, Copy)]
struct Appointment {
    due: Instant,
    attempt: usize,
    reason: Reason,
}

/// Why a pod is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Its directory was closed: its lock may have ended. A look at the lock alone closes nothing, so it is the reason for no
    /// further one.
    Closed,
    /// Something in it changed.
    Changed,
}

#[derive(Debug)]
struct PodWatch {
    pods: Pods,
    history: Arc<History>,
    log: Log,
    notices: Notices,
    subjects: HashMap<Watch, Subject>,
    known: BTreeMap<Uuid, Known>,
    appointments: BTreeMap<Uuid, Appointment>,
    complained: bool,
}

/// Looks at everything once and goes on watching in a thread, which ends with the process.
pub fn start(data: &Path, history: Arc<History>, log: Log) -> io::Result<()> {
    let mut watch = PodWatch {
        pods: Pods::of(data),
        // What is there at the start has not happened now.
        history: Arc::new(History::default()),
        log,
        notices: Notices::default(),
        subjects: HashMap::new(),
        known: BTreeMap::new(),
        appointments: BTreeMap::new(),
        complained: false,
    };
    watch.look_at_all();
    watch.history = history;
    std::thread::Builder::new().name("pods".to_owned()).spawn(move || watch.run()).map(drop)
}

impl PodWatch {
    fn run(mut self) {
        let mut swept = Instant::now();
        loop {
            let sweep = if self.notices.is_complete() { SWEEP } else { UNWATCHED_SWEEP };
            let due = self.appointments.values().map(|appointment| appointment.due).min();
            let wake = due.map_or(swept + sweep, |due| due.min(swept + sweep));
            let notices = self.notices.wait(wake.saturating_duration_since(Instant::now()));
            if self.take(notices) || swept.elapsed() >= sweep {
                self.look_at_all();
                swept = Instant::now();
            }
            self.keep_appointments();
        }
    }

    /// Looks where notices point. True if they point everywhere.
    fn take(&mut self, notices: Vec<Notice>) -> bool {
        let mut everywhere = false;
        let mut pods = Vec::new();
        for notice in notices {
            let Notice::Change { watch, name, ended } = notice else {
                everywhere = true;
                continue;
            };
            let subject = self.subjects.get(&watch).copied();
            if ended {
                self.subjects.remove(&watch);
            }
            match (subject, name) {
                (Some(Subject::Stages), Some(name)) => match name.to_str().map(Uuid::try_parse) {
                    Some(Ok(uuid)) => pods.push((uuid, Reason::Changed)),
                    // A stage's directory, maybe.
                    _ => everywhere = true,
                },
                (Some(Subject::Stages), None) => everywhere = true,
                (Some(Subject::Pod(uuid)), Some(_)) => pods.push((uuid, Reason::Changed)),
                (Some(Subject::Pod(uuid)), None) => pods.push((uuid, Reason::Closed)),
                (None, _) => {}
            }
        }
        let mut seen = BTreeSet::new();
        for (uuid, reason) in pods {
            if seen.insert((uuid, reason)) {
                self.look_for(uuid, reason);
                self.appoint(uuid, reason);
            }
        }
        everywhere
    }

    /// Looks at a pod as far as the reason demands it.
    fn look_for(&mut self, uuid: Uuid, reason: Reason) {
        let is_locked = |pod: &FoundPod| lock::is_locked_exclusively(pod.directory()).unwrap_or_default();
        let known = self.known.get(&uuid);
        let has_news = known.is_none_or(|known| known.locked.as_ref().is_some_and(|pod| !is_locked(pod)));
        if reason == Reason::Closed && !has_news {
            return;
        }
        if let Err(error) = self.look(uuid)
            && !std::mem::replace(&mut self.complained, true)
        {
            self.log.error(&error);
        }
    }

    /// Makes sure that a pod is looked at later too, if there may be news of it then.
    fn appoint(&mut self, uuid: Uuid, reason: Reason) {
        let Some(first) = LATER.first().filter(|_| self.may_have_news(uuid)) else { return };
        if self.appointments.get(&uuid).is_none_or(|appointment| appointment.reason <= reason) {
            let due = Instant::now() + *first;
            self.appointments.insert(uuid, Appointment { due, attempt: 0, reason });
        }
    }

    fn keep_appointments(&mut self) {
        let now = Instant::now();
        let due: Vec<(Uuid, Appointment)> = self
            .appointments
            .iter()
            .filter(|(_, appointment)| appointment.due <= now)
            .map(|(uuid, appointment)| (*uuid, *appointment))
            .collect();
        for (uuid, Appointment { attempt, reason, .. }) in due {
            self.appointments.remove(&uuid);
            self.look_for(uuid, reason);
            if let Some(later) = LATER.get(attempt + 1).filter(|_| self.may_have_news(uuid)) {
                let next = Appointment { due: now + *later, attempt: attempt + 1, reason };
                self.appointments.insert(uuid, next);
            }
        }
    }

    fn may_have_news(&self, uuid: Uuid) -> bool {
        self.known.get(&uuid).is_some_and(|known| known.locked.is_some())
    }

    /// Looks at all pods that may have news.
    fn look_at_all(&mut self) {
        self.watch_stages();
        let found = match self.pods.list(&Stage::ALL) {
            Ok(found) => found,
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    self.log.error(&error);
                }
                return;
            }
        };
        let gone = self.known.keys().filter(|uuid| !found.contains_key(uuid));
        let moved = found.iter().filter(|(uuid, stage)| {
            match self.known.get(uuid).map(|known| known.progress.phase) {
                Some(Phase::Exited) => !matches!(stage, Stage::Run | Stage::ExitedGarbage),
                Some(Phase::Prepared) => **stage != Stage::Prepared,
                Some(Phase::Discarded) => **stage != Stage::Garbage,
                _ => true,
            }
        });
        let uuids: Vec<Uuid> = gone.chain(moved.map(|(uuid, _)| uuid)).copied().collect();
        for uuid in uuids {
            self.look_for(uuid, Reason::Changed);
        }
    }

    /// Watches each stage's directory, or what is above it until it is made.
    fn watch_stages(&mut self) {
        let stages = Stage::ALL.map(|stage| self.pods.stage(stage));
        let nearest = stages.iter().filter_map(|path| self.notices.watch_nearest(path, WatchFlags::empty()));
        let needed: BTreeSet<Watch> = nearest.collect();
        let is_stage = |(_, subject): &(&Watch, &Subject)| **subject == Subject::Stages;
        let watched = self.subjects.iter().filter(is_stage).map(|(watch, _)| *watch);
        let surplus: BTreeSet<Watch> = watched.filter(|watch| !needed.contains(watch)).collect();
        self.forget(&surplus);
        self.subjects.extend(needed.into_iter().map(|watch| (watch, Subject::Stages)));
    }

    /// Looks at one pod and tells what has happened to it.
    fn look(&mut self, uuid: Uuid) -> Result<()> {
        let Some(pod) = self.pods.open(uuid, Stage::Embryo)? else {
            if let Some(known) = self.known.remove(&uuid) {
                self.forget(&known.watches);
                self.tell(uuid, known.progress.until_gone());
            }
            self.appointments.remove(&uuid);
            return Ok(());
        };
        let mut pod = pod;
        let mut watches = self.known.get(&uuid).map(|known| known.watches.clone()).unwrap_or_default();
        if Phase::of(pod.state()).ends_with_lock() {
            self.watch_pod(&pod, &mut watches);
            // What happened before the watch was there brought no notice.
            if let Some(again) = pod.again(&self.pods)? {
                pod = again;
            }
        }
        let before = self.known.get(&uuid).map(|known| &known.progress);
        let progress = Progress::of(&pod, before);
        let happenings = progress.since(before);
        let locked = progress.phase.ends_with_lock().then_some(pod);
        if locked.is_none() {
            self.forget(&watches);
            watches.clear();
        }
        self.known.insert(uuid, Known { progress, locked, watches });
        self.tell(uuid, happenings);
        Ok(())
    }

    /// Watches the pod and the way to its status files, as far as it is there. Each part of the way is watched before the
    /// next is looked for.
    fn watch_pod(&mut self, pod: &FoundPod, watches: &mut BTreeSet<Watch>) {
        let more = WatchFlags::CLOSE_NOWRITE;
        let mut directory = pod.path().to_owned();
        let mut add = |directory: &Path, more| {
            let watch = self.notices.watch(directory, more);
            if let Some(watch) = watch {
                self.subjects.insert(watch, Subject::Pod(pod.uuid()));
                watches.insert(watch);
            }
            watch.is_some()
        };
        if !add(&directory, more) {
            return;
        }
        let Ok(status) = pod.status_path() else { return };
        for part in status.components() {
            directory.push(part);
            if !add(&directory, WatchFlags::CLOSE_WRITE) {
                return;
            }
        }
    }

    fn forget(&mut self, watches: &BTreeSet<Watch>) {
        for watch in watches {
            self.subjects.remove(watch);
            self.notices.forget(*watch);
        }
    }

    fn tell(&self, uuid: Uuid, happenings: Vec<Happening>) {
        let time = unix_seconds(SystemTime::now());
        self.history.add(happenings.into_iter().map(|happening| Event {
            r#type: happening.kind.into(),
            id: uuid.to_string(),
            from: happening.app.unwrap_or_else(|| uuid.to_string()),
            time,
            data: happening.exit_code.map(exit_code).into_iter().collect(),
        }));
    }
}

fn exit_code(code: i32) -> KeyValue {
    KeyValue { key: "exit_code".to_owned(), value: code.to_string() }
}

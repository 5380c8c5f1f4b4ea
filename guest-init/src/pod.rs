//! The life of a pod as a pure state machine: events in, actions out.
//!
//! Responsible for: who is told what, in which order, and when the pod is over. Must not know: processes, pipes,
//! sockets, clocks; [`crate::supervise`] turns what happens into events and carries the actions out. Follows rkt-reference
//! 6.8 and the order of messages in guest-api.
//!
//! ```text
//! Running --Stop, failure--> Stopping --Kill, every app ended, grace over--> Sweeping --no process left--> Draining --> Over
//!    \-------------------------Kill, every app ended-------------------------/
//! ```
//!
//! In a mutable pod apps come and go while it is `Running`, and the end of every app ends nothing else:
//!
//! ```text
//! Starting --executed--> Running --ended--> Draining --all sent--> Over --Forget, no process left--> unknown
//!    \                       \--ended after StopApp--> Leaving --no process left--/              /
//!     \--failed---------------------------------------------------------------------------------/
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use guest_api::{AppExit, AppId, ToHost};

/// How long processes may take to die of SIGKILL. One that outlives it hangs in the kernel (a lost file server, for
/// example), where nothing but the end of the VM helps. Less than the host waits for `Halting` after the last app.
pub const KILL_WAIT: Duration = Duration::from_secs(5);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The app's process has executed its program.
    Executed {
        /// The app.
        app: AppId,
        /// Its process ID.
        pid: u32,
    },
    /// The app's process could not be made, or could not execute its program.
    StartFailed {
        /// The app.
        app: AppId,
        /// Why, as a sentence.
        reason: String,
    },
    /// The app's main process ended.
    Ended {
        /// The app.
        app: AppId,
        /// How.
        exit: AppExit,
    },
    /// All that an ended app had written was sent.
    Drained(AppId),
    /// PID 1 has no children any more.
    NoProcessLeft,
    /// Every stream was sent to its end.
    StreamsClosed,
    /// The host asked for an orderly stop.
    StopRequested,
    /// The host asked for an end at once.
    KillRequested,
    /// The host is gone.
    ControlLost,
    /// The time of the last [`Action::SetDeadline`] is over.
    DeadlinePassed,
    /// The host asked for the end of one app.
    AppStopRequested(AppId),
    /// The host needs nothing of the app any more.
    ForgetRequested(AppId),
    /// None of the processes of the last [`Action::Watch`] is left.
    Emptied(AppId),
    /// The time of the app's last [`Action::SetAppDeadline`] is over.
    AppDeadlinePassed(AppId),
}

/// Which of an app's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Without commands that were run in it, which have lives of their own.
    Own,
    /// With them.
    All,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the host.
    Send(ToHost),
    /// Send SIGTERM to the app.
    Terminate(AppId),
    /// Send SIGKILL to every process of every app, then say so if none is left.
    KillEverything,
    /// Report [`Event::Drained`] once the app's pipes are empty.
    Drain(AppId),
    /// Report [`Event::StreamsClosed`] once all pipes are empty, and close them.
    DrainEverything,
    /// Report [`Event::DeadlinePassed`] after this time; replaces an earlier deadline.
    SetDeadline(Duration),
    /// No deadline any more.
    ClearDeadline,
    /// Sync, unmount, say [`ToHost::Halting`], reset the VM.
    Halt,
    /// Nobody listens: kill, sync, reset the VM.
    Abandon,
    /// Send SIGKILL to every process of the app.
    KillApp(AppId),
    /// Report [`Event::Emptied`] once none of these processes of the app is left.
    Watch(AppId, Whom),
    /// Report [`Event::AppDeadlinePassed`] after this time; replaces an earlier deadline of the app.
    SetAppDeadline(AppId, Duration),
    /// No deadline of the app any more.
    ClearAppDeadline(AppId),
    /// Close the app's streams, telling the host, and let go of everything that was made for it.
    Release(AppId),
}

/// Why an app is not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The pod has the apps that it has.
    #[error("the pod's apps do not come and go")]
    Immutable,
    /// Its number belongs to another one: the host lost count.
    #[error("app number {0} is there already")]
    InUse(u16),
    /// Nothing is started any more.
    #[error("the pod is ending")]
    PodEnding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum App {
    Starting,
    Running,
    /// Its main process ended because the app was stopped; the others have until the deadline.
    Leaving(AppExit),
    /// Ended; its last output is on its way.
    Draining(AppExit),
    Over,
    /// Over, and what it left running was killed.
    Forgetting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// SIGTERM was sent; the grace period runs.
    Stopping,
    /// SIGKILL was sent.
    Sweeping,
    /// No process is left that could write.
    Draining,
    Over,
}

/// A pod between its configuration and its end.
#[derive(Debug)]
pub struct Pod {
    apps: BTreeMap<AppId, App>,
    phase: Phase,
    ready: bool,
    streams_closed: bool,
    stop_on_failure: bool,
    mutable: bool,
    /// Apps whose end was asked for, and whether they were killed since.
    stopping: BTreeMap<AppId, bool>,
    grace: Duration,
}

impl Pod {
    /// A pod whose apps are about to be started. `apps` are distinct.
    pub fn new(apps: impl IntoIterator<Item = AppId>, stop_on_failure: bool, grace: Duration) -> Self {
        Self {
            apps: apps.into_iter().map(|app| (app, App::Starting)).collect(),
            phase: Phase::Running,
            ready: false,
            streams_closed: false,
            stop_on_failure,
            mutable: false,
            stopping: BTreeMap::new(),
            grace,
        }
    }

    /// A pod whose apps come and go; it may have none.
    pub fn mutable(apps: impl IntoIterator<Item = AppId>, grace: Duration) -> Self {
        Self { mutable: true, ..Self::new(apps, false, grace) }
    }

    /// Whether an app with this number may be started now; if so, it is expected to be.
    pub fn admit(&mut self, app: AppId) -> Result<(), Refusal> {
        if !self.mutable {
            return Err(Refusal::Immutable);
        }
        if self.apps.contains_key(&app) {
            return Err(Refusal::InUse(app.0));
        }
        if self.phase != Phase::Running {
            return Err(Refusal::PodEnding);
        }
        self.apps.insert(app, App::Starting);
        Ok(())
    }

    /// Whether the pod has this app and may not forget it yet.
    pub fn needs(&self, app: AppId) -> bool {
        self.apps.get(&app).is_some_and(|state| !self.mutable || *state != App::Over)
    }

    /// Whether the pod has this app.
    pub fn has(&self, app: AppId) -> bool {
        self.apps.contains_key(&app)
    }

    /// Takes notice of an event and says what to do about it.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Over {
            return actions;
        }
        match event {
            Event::Executed { app, pid } => self.executed(app, pid, &mut actions),
            Event::StartFailed { app, reason } => self.start_failed(app, reason, &mut actions),
            Event::Ended { app, exit } => self.ended(app, exit, &mut actions),
            Event::Drained(app) => self.drained(app, &mut actions),
            Event::NoProcessLeft if self.phase == Phase::Sweeping => self.drain_everything(&mut actions),
            Event::NoProcessLeft => {}
            Event::StreamsClosed => self.streams_closed = self.phase == Phase::Draining,
            Event::StopRequested => self.stop(&mut actions),
            Event::KillRequested if self.phase < Phase::Sweeping => self.sweep(&mut actions),
            Event::KillRequested => {}
            Event::DeadlinePassed => self.deadline_passed(&mut actions),
            Event::AppStopRequested(app) => self.stop_app(app, &mut actions),
            Event::ForgetRequested(app) => self.forget(app, &mut actions),
            Event::Emptied(app) => self.emptied(app, &mut actions),
            Event::AppDeadlinePassed(app) => self.app_deadline_passed(app, &mut actions),
            Event::ControlLost => {
                self.phase = Phase::Over;
                actions.push(Action::Abandon);
                return actions;
            }
        }
        self.advance(&mut actions);
        actions
    }

    fn executed(&mut self, app: AppId, pid: u32, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Starting).then_some(App::Running)) {
            actions.push(Action::Send(ToHost::Started { app, pid }));
        }
    }

    fn start_failed(&mut self, app: AppId, reason: String, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Starting).then_some(App::Over)) {
            actions.push(Action::Send(ToHost::StartFailed { app, reason }));
            if !self.mutable {
                // Ready means that every app was started; now that cannot become true.
                self.ready = true;
                self.stop(actions);
            }
        }
    }

    fn ended(&mut self, app: AppId, exit: AppExit, actions: &mut Vec<Action>) {
        if self.stopping.contains_key(&app)
            && self.move_app(app, |state| (state == App::Running).then_some(App::Leaving(exit)))
        {
            actions.push(Action::Watch(app, Whom::Own));
        } else if self.move_app(app, |state| (state == App::Running).then_some(App::Draining(exit))) {
            actions.push(Action::Drain(app));
            if self.stop_on_failure && exit.status() != 0 {
                self.stop(actions);
            }
        }
    }

    fn drained(&mut self, app: AppId, actions: &mut Vec<Action>) {
        if let Some(state) = self.apps.get_mut(&app)
            && let App::Draining(exit) = *state
        {
            *state = App::Over;
            actions.push(Action::Send(ToHost::Exited { app, exit }));
        }
    }

    fn stop_app(&mut self, app: AppId, actions: &mut Vec<Action>) {
        let is_there = matches!(self.apps.get(&app), Some(App::Starting | App::Running));
        if is_there && self.phase == Phase::Running && self.stopping.insert(app, false).is_none() {
            actions.push(Action::Terminate(app));
            actions.push(Action::SetAppDeadline(app, self.grace));
        }
    }

    fn forget(&mut self, app: AppId, actions: &mut Vec<Action>) {
        if self.move_app(app, |state| (state == App::Over).then_some(App::Forgetting)) {
            actions.push(Action::KillApp(app));
            actions.push(Action::SetAppDeadline(app, KILL_WAIT));
            actions.push(Action::Watch(app, Whom::All));
        }
    }

    /// None of the app's processes is left, or what is left hangs in the kernel, killed.
    fn emptied(&mut self, app: AppId, actions: &mut Vec<Action>) {
        match self.apps.get(&app).copied() {
            Some(App::Leaving(exit)) => {
                self.apps.insert(app, App::Draining(exit));
                actions.push(Action::ClearAppDeadline(app));
                actions.push(Action::Drain(app));
            }
            Some(App::Forgetting) => {
                self.apps.remove(&app);
                self.stopping.remove(&app);
                actions.push(Action::Release(app));
                actions.push(Action::Send(ToHost::Forgotten(app)));
            }
            Some(App::Starting | App::Running | App::Draining(_) | App::Over) | None => {}
        }
    }

    fn app_deadline_passed(&mut self, app: AppId, actions: &mut Vec<Action>) {
        match self.apps.get(&app) {
            Some(App::Starting | App::Running | App::Leaving(_)) => match self.stopping.get_mut(&app) {
                Some(killed @ false) => {
                    *killed = true;
                    actions.push(Action::KillApp(app));
                    actions.push(Action::SetAppDeadline(app, KILL_WAIT));
                }
                Some(true) => self.emptied(app, actions),
                None => {}
            },
            Some(App::Forgetting) => self.emptied(app, actions),
            Some(App::Draining(_) | App::Over) | None => {}
        }
    }

    fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Stopping;
        actions.extend(self.living().map(Action::Terminate));
        actions.push(Action::SetDeadline(self.grace));
    }

    fn deadline_passed(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Stopping => self.sweep(actions),
            Phase::Sweeping => {
                // What is still there hangs in the kernel, killed; nothing else can be said of it.
                let hanging: Vec<AppId> = self.living().collect();
                for app in hanging {
                    self.executed_or_not_is_over(app, actions);
                }
                self.drain_everything(actions);
            }
            Phase::Running | Phase::Draining | Phase::Over => {}
        }
    }

    fn executed_or_not_is_over(&mut self, app: AppId, actions: &mut Vec<Action>) {
        const SIGKILL: u8 = 9;
        match self.apps.get(&app) {
            Some(App::Starting) => {
                let reason = "it hangs while its root file system is prepared".to_owned();
                self.start_failed(app, reason, actions);
            }
            Some(App::Running) => {
                self.stopping.remove(&app);
                self.ended(app, AppExit::Signal(SIGKILL), actions);
            }
            Some(App::Leaving(_) | App::Forgetting) => self.emptied(app, actions),
            Some(App::Draining(_) | App::Over) | None => {}
        }
    }

    /// The transitions that follow from the state of the apps alone.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        let all_started = !self.apps.values().any(|state| *state == App::Starting);
        if all_started && !self.ready {
            self.ready = true;
            actions.push(Action::Send(ToHost::Ready));
        }
        let may_end = !self.mutable || self.phase == Phase::Stopping;
        if may_end && self.phase < Phase::Sweeping && self.living().next().is_none() {
            self.sweep(actions);
        }
        let all_over = self.apps.values().all(|state| *state == App::Over);
        if self.phase == Phase::Draining && all_over && self.streams_closed {
            self.phase = Phase::Over;
            actions.push(Action::Halt);
        }
    }

    /// Ends what apps left behind (or, after the grace period, the apps themselves).
    fn sweep(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Sweeping;
        actions.push(Action::KillEverything);
        actions.push(Action::SetDeadline(KILL_WAIT));
    }

    fn drain_everything(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Draining;
        let leaving = self.apps.iter().filter(|(_, it)| matches!(it, App::Leaving(_) | App::Forgetting));
        let leaving: Vec<AppId> = leaving.map(|(app, _)| *app).collect();
        for app in leaving {
            self.emptied(app, actions);
        }
        actions.push(Action::ClearDeadline);
        actions.push(Action::DrainEverything);
    }

    /// Apps that have, or will have, a process.
    fn living(&self) -> impl Iterator<Item = AppId> {
        self.apps
            .iter()
            .filter(|(_, state)| matches!(state, App::Starting | App::Running | App::Leaving(_)))
            .map(|(app, _)| *app)
    }

    /// Moves an app on if `next` allows it from where it is.
    fn move_app(&mut self, app: AppId, next: impl FnOnce(App) -> Option<App>) -> bool {
        let Some(state) = self.apps.get_mut(&app) else { return false };
        let Some(new) = next(*state) else { return false };
        *state = new;
        true
    }
}
